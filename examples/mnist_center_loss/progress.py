"""What is shown while it runs: a bar in a terminal, plain lines elsewhere."""
import os
import sys
import time

from tqdm import tqdm

# The losses come before the bar, so that a narrow terminal cuts off the bar and not the losses.
FORM = "{percentage:3.0f}% {desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"


class EpochBar:
    """A bar for each training epoch, with the value of each loss so far: a `batch_end_callback` of `Module.fit`.

    Where `stream` is no terminal there are lines instead, for epochs that take long.

    Args:
        title: what is being trained.
        epochs: how many epochs there will be.
        batches: how many batches an epoch has.
        stream: where the bar goes; lines go to standard output.
        clock: seconds that only grow.
        refresh: seconds between two readings of the losses in a bar. Reading waits for the devices.
        every: seconds between two lines.
    """

    def __init__(self, title, epochs, batches, *, stream=None, clock=time.monotonic, refresh=0.5, every=30):
        self.stream = stream or sys.stderr
        self.terminal = is_terminal(self.stream)
        self.title, self.epochs, self.batches, self.clock = title, epochs, batches, clock
        self.pause = refresh if self.terminal else every
        self.bar, self.shown = None, clock()

    def __call__(self, param):
        """Called by `Module.fit` with its `BatchEndParam`."""
        done = param.nbatch + 1
        title = "{} {}/{}".format(self.title, param.epoch + 1, self.epochs)
        if self.terminal and self.bar is None:
            self.bar = tqdm(total=self.batches, desc=title, unit="batch", file=self.stream, bar_format=FORM,
                            **screen(self.stream))
        if not self.terminal and done == 1:
            self.shown = self.clock()
        if self.bar is not None:
            self.bar.update()
        if self.clock() - self.shown >= self.pause or (self.terminal and done == self.batches):
            losses = values(param.eval_metric)
            if self.bar is not None:
                losses = dict(sorted(losses.items(), key=lambda item: not item[0].endswith("loss")))  # accuracy last
                self.bar.set_description_str("{}: {}".format(title, text(losses)))
            else:
                print("{} epoch {}/{} batch {}/{}: {}".format(self.title, param.epoch + 1, self.epochs, done,
                                                              self.batches, text(losses)), flush=True)
            self.shown = self.clock()
        if done == self.batches:
            self.close()

    def close(self):
        """Leave the bar as it is, and start a new one with the next batch."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


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


def is_terminal(stream):
    """Whether somebody watches `stream`."""
    return hasattr(stream, "isatty") and stream.isatty()


def screen(stream):
    """The size of a terminal for tqdm, which would show nothing in one that does not tell its size."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        columns = rows = 0
    return {"ncols": columns or 100, "nrows": rows or 20}


def values(metric):
    """What `metric` says of the epoch so far, by name."""
    return dict(metric.get_global_name_value())


def text(losses):
    """Losses by name in a line."""
    return " ".join("{} {:.4f}".format(name, value) for name, value in losses.items())
