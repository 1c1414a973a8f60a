"""Handlers that show and write what a training reaches, beside MXNet's own.

Usage::

    estimator.fit(train, validation, epochs=20, event_handlers=[
        mxloss.estimator.ProgressBar(), mxloss.estimator.MetricsFile('runs/a/metrics.jsonl'),
        mxloss.estimator.TensorBoard('runs/a/board', histograms=100)])
"""
import time

from mxnet.gluon.contrib import estimator as stock

from .. import _check
from ..watch import Board, Progress, Records, Speed, learning_rate
from .handler import trained
from .run import batches_in
from .stop import values


class Watcher(stock.TrainBegin, stock.BatchEnd, stock.EpochEnd, stock.TrainEnd):
    """A handler that is called after metrics, validation and criteria, and before checkpoints."""

    priority = -500

    def resumed(self, estimator):
        """Called after a checkpoint was loaded, before the first epoch."""

    def close(self):
        """Called at the end, also after an error."""


class ProgressBar(Watcher):
    """Show a bar for each epoch, or plain lines where there is no terminal: every loss, speed, time left.

    Losses are those of the epoch so far. ``estimator.logger.setLevel('WARNING')`` silences MXNet's own lines.

    Args:
        title: what is being trained.
        options: see `mxloss.watch.Progress`.

    Examples:
        >>> bar = ProgressBar('mnist', every=10)     # estimator.fit(..., event_handlers=[bar])
    """

    def __init__(self, title="", **options):
        self._progress = Progress(title, **options)

    def train_begin(self, estimator, *args, **kwargs):
        """Nothing was shown yet."""
        self._shown = None  # the epoch whose end was shown

    def batch_end(self, estimator, *args, **kwargs):
        """Show a batch."""
        self._show(estimator, samples(kwargs["loss"]), estimator.run.whole)

    def epoch_end(self, estimator, *args, **kwargs):
        """Show the end of the epoch, if nobody knew that this was the last batch, and the validation."""
        run = estimator.run
        if self._shown != run.epoch and run.batch:
            self._show(estimator, 0, True)
        if run.validated:
            self._progress.validated(run.epoch, estimator.max_epoch, values(estimator)["validation"])

    def close(self):
        """Leave the bar as it is."""
        self._progress.close()

    def _show(self, estimator, size, last):
        epoch, batch = estimator.run.last
        self._progress.batch(epoch, estimator.max_epoch, batch, batches_in(estimator.feed), size,
                             lambda: values(estimator)["train"], last=last)
        if last:
            self._shown = epoch


class MetricsFile(Watcher):
    """Write every loss and metric of each epoch, of training and validation, as a line of JSON; see `watch.Records`.

    The file is begun anew, but by a resumed training, which drops the lines that it is going to write again.

    Args:
        path: the file, as ``metrics.jsonl``.
        every: write the values of the epoch so far after each so many batches too.
        fields: dict of what each record has beside that, ``{'model': 'small'}``, where trainings share a file.
        clock: seconds that only grow.
    """

    def __init__(self, path, *, every=None, fields=None, clock=time.monotonic):
        self.every = every if every is None else _check.integer("MetricsFile", "every", every, low=1)
        self._records, self._speed, self._begun = Records(path, fields), Speed(clock), False

    def resumed(self, estimator):
        """Drop what will be written again."""
        self._records.rewind(estimator.run.epoch, estimator.run.batch)
        self._begun = True

    def train_begin(self, estimator, *args, **kwargs):
        """Count samples from now."""
        if not self._begun:
            self._records.rewind(0, 0)
            self._begun = True
        self._speed.restart()

    def batch_end(self, estimator, *args, **kwargs):
        """Write a record if one is due."""
        self._speed.add(samples(kwargs["loss"]))
        if self.every and estimator.run.batch % self.every == 0 and not estimator.run.whole:
            self._write(estimator, "train", values(estimator)["train"], False)

    def epoch_end(self, estimator, *args, **kwargs):
        """Write the records of the epoch."""
        found = values(estimator)  # which waits for the devices
        for data in found:
            self._write(estimator, data, found[data], not estimator.run.whole)

    def _write(self, estimator, split, found, partial):
        epoch, batch = estimator.run.last
        record = {"epoch": epoch + 1, "batch": batch + 1, "step": estimator.run.step, "split": split,
                  "partial": partial}
        if split == "train":
            record.update(learning_rate=rate(estimator), samples_per_second=self._speed.read())
        self._records.write(dict(record, **found))


class TensorBoard(Watcher):
    """Write files for TensorBoard: every loss and metric, learning rate, samples per second, histograms.

    Tags are ``train/<name>``, ``validation/<name>``, ``learning_rate``, ``samples_per_second``, ``weights/<name>`` (the
    centers among them) and ``gradients/<name>``: the mean gradient over the samples of the step, of all devices.

    Args:
        folder: where the files go.
        every: write the values of the epoch so far after each so many batches too.
        histograms: write those of parameters and gradients at each so many steps.
        clock: seconds that only grow.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder, *, every=None, histograms=None, clock=time.monotonic):
        self.every = every if every is None else _check.integer("TensorBoard", "every", every, low=1)
        self.histograms = histograms if histograms is None else \
            _check.integer("TensorBoard", "histograms", histograms, low=1)
        self.folder, self._speed = folder, Speed(clock)
        self._board, self._from = None, None
        _check.extra("TensorBoard", "tensorboardX")

    def resumed(self, estimator):
        """Let TensorBoard forget what will be written again."""
        self._from = estimator.run.step

    def train_begin(self, estimator, *args, **kwargs):
        """Open a file."""
        self._board = Board(self.folder, purge_step=self._from)
        self._speed.restart()
        if self.histograms:
            estimator.before_step.append(self._draw)

    def batch_end(self, estimator, *args, **kwargs):
        """Write numbers if they are due."""
        self._speed.add(samples(kwargs["loss"]))
        if self.every and estimator.run.batch % self.every == 0 and not estimator.run.whole:
            self._write(estimator, {"train": values(estimator)["train"]})

    def epoch_end(self, estimator, *args, **kwargs):
        """Write the numbers of the epoch."""
        self._write(estimator, values(estimator))

    def close(self):
        """Write what is left."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _write(self, estimator, found):
        scalars = {"{}/{}".format(data, name): value for data in found for name, value in found[data].items()}
        scalars.update(learning_rate=rate(estimator), samples_per_second=self._speed.read())
        self._board.scalars(estimator.run.step, scalars)

    def _draw(self, estimator, size):
        """Called before each step, when the gradients of all devices are whole and the weights still those of them."""
        if (estimator.trainer.optimizer.num_update + 1) % self.histograms:
            return
        arrays = {}
        for name, parameter in trained(estimator).items():
            arrays["weights/" + name] = parameter.list_data()[0]
            if parameter.grad_req != "null":
                arrays["gradients/" + name] = sum(gradient.asnumpy() for gradient in parameter.list_grad()) / size
        self._board.histograms(estimator.run.step, arrays)


def samples(loss):
    """How many samples a batch had."""
    return sum(part.shape[0] for part in loss)


def rate(estimator):
    """The learning rate of the last step."""
    optimizer = estimator.trainer.optimizer
    return learning_rate(optimizer, optimizer.num_update)
