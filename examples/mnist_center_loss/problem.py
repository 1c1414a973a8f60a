"""What ends the example early."""


class Problem(Exception):
    """Ends the example with exit status 2: its text is the one line on stderr, and says what to do."""


class Interrupted(Exception):
    """Ends the example after a signal, with the exit status that is its argument; `--resume` goes on."""
