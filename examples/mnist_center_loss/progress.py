"""A bar for downloads."""
import sys

from tqdm import tqdm

from mxloss.watch import screen

from .output import is_terminal


class DownloadBar:
    """A bar for each file that is being downloaded, where `stream` is a terminal."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr
        self.name, self.bar = None, None

    def __call__(self, name, received, length):
        """Called by `download.fetch`."""
        if not is_terminal(self.stream):
            return
        if name != self.name:
            self.close()
            self.name = name
            self.bar = tqdm(total=length or None, desc="download " + name, unit="B", unit_scale=True, file=self.stream,
                            leave=False, **screen(self.stream))
        self.bar.update(received - self.bar.n)

    def close(self):
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
        self.name, self.bar = None, None
