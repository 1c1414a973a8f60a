"""What a training shows and writes while it runs, for `Module.fit` and for `Estimator`.

Usage::

    mxloss.fit(module, train, num_epoch=5, watch=[mxloss.callback.ProgressBar(),
                                                  mxloss.callback.MetricsFile('runs/a/metrics.jsonl'),
                                                  mxloss.callback.TensorBoard('runs/a/board', histograms=100)])

`mxloss.callback` has these parts as callbacks; here is what they do, apart from who calls them.
"""
import copy
import itertools
import json
import math
import os
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np

from . import _check


class Progress:
    """Shows how far an epoch and the run are: a bar in a terminal, plain lines elsewhere.

    Speed and time left are measured from the end of the first batch of an epoch that this process trains; that of the
    run from one such moment to the next, validation included, as soon as there were two.

    Args:
        title: what is being trained.
        stream: where it goes, standard error by default.
        clock: seconds that only grow.
        refresh: seconds between two readings of the losses in a bar. Reading waits for the devices.
        every: seconds between two lines.
        width: columns of a bar; as wide as the terminal by default.
    """

    def __init__(self, title="", *, stream=None, clock=time.monotonic, refresh=0.5, every=30, width=None):
        self.stream = sys.stderr if stream is None else stream
        self.terminal = bool(getattr(self.stream, "isatty", lambda: False)())
        if self.terminal:
            self._tqdm = _check.extra("ProgressBar", "tqdm").tqdm
        self.title, self.clock, self.width = title, clock, width
        self.pause = _check.number("ProgressBar", "refresh", refresh, low=0) if self.terminal else \
            _check.number("ProgressBar", "every", every, low=0)
        self._bar = None
        self._epoch = None  # the epoch that is being shown
        self._epoch_seconds = None  # of the epoch before it, validation included
        self._known = None  # batches of an epoch, as the last whole one had

    def batch(self, epoch, epochs, batch, batches, size, values, *, last=False):
        """Show that a batch is done.

        Args:
            epoch, batch: which one, both from 0.
            epochs: how many there will be, None if nobody knows.
            batches: how many an epoch has, None if nobody knows.
            size: samples in this batch.
            values: called without arguments for the losses by name.
            last: this was the last batch of the epoch.
        """
        now = self.clock()
        if epoch != self._epoch:
            self._begin(epoch, batch, now)
        else:
            self._samples += size
        batches = batches or self._known
        if last:
            self._known = max(batch + 1, self._known or 0)
        due = now - self._shown >= self.pause
        title = self._named(epoch, epochs)
        if self.terminal:
            if self._bar is None:
                size = screen(self.stream)
                self._bar = self._tqdm(total=batches, desc=title, file=self.stream, ncols=self.width or size["ncols"],
                                       nrows=size["nrows"], mininterval=0, initial=batch,
                                       bar_format=_BAR if batches else _COUNT)
            self._bar.n = batch + 1
            if due or last:
                self._bar.set_postfix_str("{} {}".format(
                    text(values()), self._pace(now, epoch, epochs, batch, batches, last)))
        elif last:
            self._line("{}: {} {}".format(title, self._pace(now, epoch, epochs, batch, batches, True), text(values())))
        elif due:
            self._line("{} batch {}{}: {} {}".format(title, batch + 1, "/{}".format(batches) if batches else "",
                                                     self._pace(now, epoch, epochs, batch, batches, False),
                                                     text(values())))
        if due:
            self._shown = now
        if last:
            self.close()

    def validated(self, epoch, epochs, values):
        """Show the values of the validation."""
        self._line("{} validation: {}".format(self._named(epoch, epochs), text(values)))

    def close(self):
        """Leave the bar as it is; a new one starts with the next epoch."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _begin(self, epoch, batch, now):
        if self._epoch is not None and self._first == 0:  # the last epoch was seen from its start
            self._epoch_seconds = now - self._start
        self._epoch, self._first, self._start, self._shown, self._samples = epoch, batch, now, now, 0

    def _named(self, epoch, epochs):
        return "{} epoch {}{}".format(self.title, epoch + 1, "/{}".format(epochs) if epochs else "").strip()

    def _pace(self, now, epoch, epochs, batch, batches, last):
        seconds, done = now - self._start, batch - self._first
        if not done or seconds <= 0:
            return "[? samples/s]"
        entries = ["{:.0f} samples/s".format(self._samples / seconds)]
        left = 0 if last else None
        if batches and not last:
            left = max(batches - batch - 1, 0) * seconds / done
            entries.append("{} left".format(span(left)))
        if epochs and left is not None:
            whole = self._epoch_seconds or (batches or batch + 1) * seconds / done
            entries.append("{} left of the run".format(span(left + (epochs - epoch - 1) * whole)))
        return "[{}]".format(", ".join(entries))

    def _line(self, line):
        if self._bar is not None:
            self._bar.clear()
        print(line, file=self.stream, flush=True)


# What matters most comes first: a narrow terminal cuts off the end, and has the smallest bar.
_BAR = "{desc} {n_fmt}/{total_fmt}{postfix} |{bar}|"
_COUNT = "{desc} {n_fmt}{postfix}"  # tqdm puts a comma before the postfix


def screen(stream):
    """The size of a terminal for tqdm, which would show nothing in one that does not tell its size."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        columns = rows = 0
    return {"ncols": columns or 100, "nrows": rows or 20}


def span(seconds):
    """Seconds as a person reads them.

    Examples:
        >>> span(7), span(754), span(3 * 3600 + 61)
        ('0:07', '12:34', '3:01:01')
    """
    seconds = int(round(seconds))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    clock = "{:02d}:{:02d}".format(minutes, seconds % 60) if hours else "{}:{:02d}".format(minutes, seconds % 60)
    return "{}:{}".format(hours, clock) if hours else clock


def text(values):
    """Losses by name in a line.

    Examples:
        >>> text({'accuracy': 0.5, 'loss': 12.34567})
        'accuracy 0.5000 loss 12.3457'
    """
    return " ".join("{} {:.4f}".format(name, value) for name, value in values.items())


class Speed:
    """Samples per second since it was asked last, or since `restart`."""

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self.restart()

    def restart(self):
        """Count from now."""
        self._since, self._samples = self.clock(), 0

    def add(self, samples):
        """Count what a batch had."""
        self._samples += samples

    def read(self):
        """Samples per second, or None if no time went by; then count from now."""
        seconds, samples = self.clock() - self._since, self._samples
        self.restart()
        return samples / seconds if seconds > 0 else None


def learning_rate(optimizer, step):
    """The learning rate that an optimizer has at a step, asked of a copy of its scheduler, for asking changes that."""
    if optimizer.lr_scheduler is None:
        return optimizer.lr
    return copy.deepcopy(optimizer.lr_scheduler)(step)


class Records:
    """A file of one JSON object a line, each written at once; numbers that are not finite become null.

    A record has 'epoch' and 'batch' (the last one that it is about, counted from 1), 'step' (batches of the run so
    far), 'split' ('train' or 'validation'), 'partial' (the epoch was ended before its end), perhaps 'learning_rate' and
    'samples_per_second', and the values by name.

    Args:
        path: the file.
        fields: dict of what each record of this training has beside that; several trainings, told apart by their
            fields, may share a file.

    Examples:
        >>> records = Records(getfixture('tmp_path') / 'metrics.jsonl', {'model': 'small'})
        >>> records.write({'epoch': 1, 'batch': 10, 'step': 10, 'split': 'train', 'partial': False, 'loss': 0.5})
        >>> records.read()[0]['model'], records.read()[0]['loss']
        ('small', 0.5)
    """

    def __init__(self, path, fields=None):
        self.path, self.fields = Path(path), dict(fields or {})

    def write(self, record):
        """Append a record."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({key: None if isinstance(value, float) and not math.isfinite(value) else value
                           for key, value in dict(self.fields, **record).items()})
        with open(str(self.path), "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read(self):
        """All records of the file; a last line that a killed process left unfinished is no record.

        Raises:
            ValueError: another line that is no record.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        records = []
        for number, line in enumerate(lines[:-1]):  # after the last end of line comes nothing, or half a record
            try:
                records.append(json.loads(line))
            except ValueError:
                _check.fail("Records", "path", "a file of one JSON object a line", line,
                            where=" in line {} of {}".format(number + 1, self.path))
        return records

    def rewind(self, epoch, batch):
        """Drop the records of this training from the one on that follows `batch` batches of `epoch` whole epochs."""
        if not self.path.exists():
            return
        kept = [record for record in self.read() if not self._own(record) or not record["partial"] and
                (record["epoch"] - 1, record["batch"]) <= (epoch, batch)]
        part = self.path.with_name(".{}.{}.part".format(self.path.name, os.getpid()))
        part.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        os.replace(str(part), str(self.path))

    def _own(self, record):
        return all(record.get(key) == value for key, value in self.fields.items())


_opened = itertools.count()
BINS = 64  # of equal width: NumPy counts those many times faster than the default ones of tensorboardX


class Board:
    """Files for TensorBoard, through tensorboardX.

    Args:
        folder: where the event files go.
        purge_step: a step from which on TensorBoard forgets what an earlier run has written.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder, *, purge_step=None):
        writer = _check.extra("TensorBoard", "tensorboardX").SummaryWriter
        # Its files are named by the second, and a second one of that name would replace the first.
        suffix = ".{}-{}".format(os.getpid(), next(_opened))
        self._writer = writer(str(folder), purge_step=purge_step, filename_suffix=suffix)

    def scalars(self, step, values):
        """Write numbers by tag."""
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, value, step)

    def histograms(self, step, arrays):
        """Write the distribution of each array by tag; what is not finite is left out, for there is no place for it."""
        for tag, array in arrays.items():
            array = array.asnumpy() if isinstance(array, mx.nd.NDArray) else array
            array = array[np.isfinite(array)]
            if array.size:
                self._writer.add_histogram(tag, array, step, bins=BINS)

    def close(self):
        """Write what is left."""
        self._writer.close()
