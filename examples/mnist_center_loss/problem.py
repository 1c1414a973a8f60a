"""What ends the example early."""


class Problem(Exception):
    """Ends the example with exit status 2: its text is the one line on stderr, and says what to do."""
