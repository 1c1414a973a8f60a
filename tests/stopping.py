"""A criterion that stops wherever a test wants it to."""
from mxloss.stop import Criterion


class After(Criterion):
    """Stop after so many batches of a process."""

    reason = "target"

    def __init__(self, batches):
        super().__init__("train", "batch")
        self.left = batches

    def see(self, values):
        self.left -= 1
        return None if self.left else ("batches", 0)
