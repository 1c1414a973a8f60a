"""Callbacks for `Module.fit`: waiting for its last batch, and watching it.

Usage::

    bar = mxloss.callback.ProgressBar()
    mxloss.fit(module, train, validation, num_epoch=5, watch=[bar])
    module.fit(train, validation, num_epoch=5, batch_end_callback=bar, eval_end_callback=bar.validated)      # likewise
"""
import time

import mxnet as mx

from . import _check
from .loss.center.block import MARK
from .operator import explained
from .watch import Board, Progress, Records, Speed, learning_rate


def wait_for_outputs(module):
    """Wait for all that a module has to do, the outputs of its last batch included.

    Raises:
        ValueError: what an operator of this package found wrong in a batch.
    """
    with explained():
        mx.nd.waitall()  # who reads first takes an error away, also from what is queued behind it and would then run
        for outputs in module.get_outputs(merge_multi_context=False):
            for output in outputs if isinstance(outputs, list) else [outputs]:
                output.wait_to_read()


class WaitForOutputs:
    """Waits for every output of the last batch of an epoch: a `batch_end_callback`.

    An operator that keeps a state, as `centerloss` keeps its centers, writes it when MXNet comes to run it.
    `Module.fit` reads all states at the end of an epoch without waiting for that, and writes back what it read. Whoever
    has read the operator's own output of the last batch, on every device, has waited long enough: the metrics of
    mxloss do so, and beside a metric that does not, as `mx.metric.Accuracy`, this callback does.

    Raises:
        ValueError: what an operator of this package found wrong in a batch of the epoch.

    Examples:
        >>> feature, label = mx.sym.var('data'), mx.sym.var('softmax_label')
        >>> center = mx.sym.Custom(feature, label, op_type='centerloss', num_class=2, alpha=1, name='center')
        >>> module = mx.mod.Module(mx.sym.Group([mx.sym.SoftmaxOutput(feature, label, name='softmax'),
        ...                                      mx.sym.MakeLoss(center)]))
        >>> train = mx.io.NDArrayIter(np.array([[2., 0.], [0., 4.]]), np.array([0, 1]), 2)
        >>> accuracy = mx.metric.Accuracy(output_names=['softmax_output'], label_names=['softmax_label'])
        >>> module.fit(train, eval_metric=accuracy, num_epoch=1, batch_end_callback=WaitForOutputs())
        >>> module.get_params()[1]['center_center_bias'].asnumpy()
        array([[1., 0.],
               [0., 2.]], dtype=float32)
    """

    def __call__(self, param):
        """Called by `Module.fit` with its `BatchEndParam`."""
        if param.locals.get("end_of_batch", True):  # fit's name for: this was the last batch of the epoch
            wait_for_outputs(param.locals["self"])


class ProgressBar:
    """Shows a bar for each epoch with every loss, the speed and the time left; plain lines where there is no terminal.

    Args:
        title: what is being trained.
        batches: batches of an epoch, where the training data has no `num_batch`; without both it is known after one.
        stream, clock, refresh, every, width: see `mxloss.watch.Progress`.

    Raises:
        ImportError: `stream` is a terminal and tqdm is not installed.

    Examples:
        >>> net = mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(mx.sym.var('data'), num_hidden=1), name='line')
        >>> module = mx.mod.Module(net, label_names=['line_label'])
        >>> train = mxloss.io.ArrayIter(np.ones((8, 1)), np.ones((8, 1)), 2, label_name='line_label')
        >>> bar = ProgressBar('line', stream=sys.stdout, clock=iter(range(100)).__next__)
        >>> outcome = mxloss.fit(module, train, eval_metric='mse', num_epoch=2, watch=[bar],
        ...                      initializer=mx.init.Zero())
        line epoch 1/2: [2 samples/s, 0:04 left of the run] mse 0.9422
        line epoch 2/2: [2 samples/s, 0:00 left of the run] mse 0.8015
    """

    def __init__(self, title="", *, batches=None, stream=None, clock=time.monotonic, refresh=0.5, every=30, width=None):
        self.batches = None if batches is None else _check.integer("ProgressBar", "batches", batches, low=1)
        self._progress = Progress(title, stream=stream, clock=clock, refresh=refresh, every=every, width=width)
        self._epochs = None

    def __call__(self, param):
        """Called by `Module.fit` with its `BatchEndParam`."""
        known = param.locals
        batches = self.batches or getattr(known.get("train_data"), "num_batch", None)
        self._epochs = known.get("num_epoch")
        self._progress.batch(param.epoch, self._epochs, param.nbatch, batches, _samples(param),
                             lambda: _values(param), last=known["end_of_batch"])

    def validated(self, param):
        """Called by `Module.fit` at the end of a validation, as an `eval_end_callback`."""
        self._progress.validated(param.epoch, self._epochs, _values(param))

    def close(self):
        """Leave the bar as it is."""
        self._progress.close()


class _Reporter:
    """What a file is told: the step, the speed since it was told last, the learning rate."""

    def __init__(self, clock):
        self._speed, self._step, self._epoch, self._batch = Speed(clock), 0, None, None

    def _take(self, param):
        """Count a batch. The time up to the end of an epoch's first one has setting up and validation in it."""
        self._step = param.locals.get("step", self._step + 1)
        self._batch = param.nbatch
        if param.epoch == self._epoch:
            self._speed.add(_samples(param))
        else:
            self._epoch = param.epoch
            self._speed.restart()

    def _pace(self, param):
        optimizer = getattr(param.locals["self"], "_optimizer", None)
        rate = None if optimizer is None else learning_rate(optimizer, optimizer.begin_num_update + self._step)
        return {"learning_rate": rate, "samples_per_second": self._speed.read()}


class MetricsFile(_Reporter):
    """Writes the values of each epoch to a file, a JSON object a line; see `mxloss.watch.Records` for what is in it.

    The file is begun anew, but by a resumed training, which goes on behind what it will not do again.

    Args:
        path: the file, ``metrics.jsonl`` for example.
        every: write the values of the epoch so far after each so many batches too.
        fields: dict of what each record has beside that, ``{'model': 'small'}``, where trainings share a file.
        clock: seconds that only grow.
    """

    def __init__(self, path, *, every=None, fields=None, clock=time.monotonic):
        super().__init__(clock)
        self.every = None if every is None else _check.integer("MetricsFile", "every", every, low=1)
        self._records, self._begun = Records(path, fields), False

    def resumed(self, epoch, batch, step):
        """Called by `mxloss.fit` where it goes on from a checkpoint."""
        self._records.rewind(epoch, batch)
        self._step, self._begun = step, True

    def __call__(self, param):
        """Called by `Module.fit` with its `BatchEndParam`."""
        self._take(param)
        ended, partial = param.locals["end_of_batch"], param.locals.get("partial", False)
        if self.every and (param.nbatch + 1) % self.every == 0 and (partial or not ended):
            self._write(param, "train", False, self._pace(param))
        if ended:
            self._write(param, "train", partial, self._pace(param))

    def validated(self, param):
        """Called by `Module.fit` at the end of a validation, as an `eval_end_callback`."""
        self._write(param, "validation", param.locals.get("partial", False), {})

    def close(self):
        """Nothing is held open."""

    def _write(self, param, split, partial, pace):
        if not self._begun:
            self._records.rewind(0, 0)
            self._begun = True
        self._records.write(dict({"epoch": param.epoch + 1, "batch": self._batch + 1, "step": self._step,
                                  "split": split, "partial": partial}, **pace, **_values(param)))


class TensorBoard(_Reporter):
    """Writes every loss, learning rate and speed for TensorBoard, and how weights and centers are distributed.

    The tags are ``train/<name>``, ``validation/<name>``, ``learning_rate``, ``samples_per_second`` and, of parameters
    and auxiliary states, ``weights/<name>``; the counts of a `CenterLoss` are ``weights/<name>_counts``. The step is
    the number of batches of the run; a resumed training makes TensorBoard forget what it will do again.

    Args:
        folder: where the event files go.
        every: write the values of the epoch so far after each so many batches too.
        histograms: write distributions after each so many batches; none by default. It waits for the devices.
        clock: seconds that only grow.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder, *, every=None, histograms=None, clock=time.monotonic):
        super().__init__(clock)
        _check.extra("TensorBoard", "tensorboardX")
        self.folder = folder
        self.every = None if every is None else _check.integer("TensorBoard", "every", every, low=1)
        self.histograms = None if histograms is None else _check.integer("TensorBoard", "histograms", histograms, low=1)
        self._made, self._from = None, None

    @property
    def _board(self):
        if self._made is None:
            self._made = Board(self.folder, purge_step=self._from)
        return self._made

    def resumed(self, epoch, batch, step):
        """Called by `mxloss.fit` where it goes on from a checkpoint."""
        self._step, self._from = step, step + 1

    def __call__(self, param):
        """Called by `Module.fit` with its `BatchEndParam`."""
        self._take(param)
        if param.locals["end_of_batch"] or (self.every and (param.nbatch + 1) % self.every == 0):
            values = {"train/" + name: value for name, value in _values(param).items()}
            self._board.scalars(self._step, dict(values, **self._pace(param)))
        if self.histograms and self._step % self.histograms == 0:
            self._board.histograms(self._step, _arrays(param.locals["self"]))

    def validated(self, param):
        """Called by `Module.fit` at the end of a validation, as an `eval_end_callback`."""
        self._board.scalars(self._step, {"validation/" + name: value for name, value in _values(param).items()})

    def close(self):
        """Write what is left; more may follow, in another file."""
        if self._made is not None:
            self._made.close()
            self._made, self._from = None, None


def _samples(param):
    """How many samples the batch of a `BatchEndParam` has."""
    batch = param.locals["data_batch"]
    return sum(part.data[0].shape[0] - (part.pad or 0) for part in (batch if isinstance(batch, list) else [batch]))


def _values(param):
    """What the metric says of the epoch so far, by name."""
    return dict(param.eval_metric.get_global_name_value())


def _arrays(module):
    """Parameters and auxiliary states by tag."""
    wait_for_outputs(module)
    args, auxs = module.get_params()
    attributes = module.symbol.attr_dict()
    arrays = {"weights/" + name: array for name, array in auxs.items()}
    for name, array in args.items():
        if name.endswith("centers") and MARK in attributes.get(name, {}):  # a row: center, how often it has moved
            arrays["weights/" + name], arrays["weights/" + name + "_counts"] = array[:, :-1], array[:, -1]
        else:
            arrays["weights/" + name] = array
    return arrays
