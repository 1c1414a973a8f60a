"""`Module.fit` with an end that is not the last epoch, and a beginning that is not the first.

Usage::

    outcome = mxloss.fit(module, train, validation, mxloss.metric.from_symbol(net), num_epoch=20, optimizer='adam',
                         stop=mxloss.stop.Target('center_loss', 0.05, direction='min', every=50),
                         checkpoint='runs/a', resume=True, seed=1, stop_on_signal=True,
                         watch=[mxloss.callback.ProgressBar()])
    sys.exit(outcome.exit_code)                     # 130 after SIGINT, 143 after SIGTERM
"""
import contextlib
import inspect
import logging
import warnings

import mxnet as mx

from .. import _check, random
from ..callback import wait_for_outputs
from ..checkpoint import Folder, metric_state, restore_metric
from ..stop import Judge, Outcome, Signals
from ..workers import Workers
from . import state


def fit(module, train_data, eval_data=None, eval_metric="acc", *, num_epoch, begin_epoch=0, stop=None, checkpoint=None,
        resume=False, seed=None, stop_on_signal=False, watch=(), **arguments):
    """Train a module by `Module.fit`, until its last epoch or until there is a reason to stop; go on where it stopped.

    Each epoch is a call of `Module.fit`. To stop within one, its data is ended, so that the epoch's callbacks and
    validation still run. The checkpoint of an epoch that was cut is written before them, that of a whole one after.

    A resumed training is the one that never stopped: bit for bit, metrics and criteria included, on as many devices as
    before if the number of devices is a power of two, else up to rounding. Random numbers are only so with `seed`. What
    a target or plateau has ended stays ended, as long as `stop` has it. The optimizer goes on as it was saved, with its
    learning rate and all, whatever `optimizer_params` say.

    On several workers (`dist_sync` with MXNET_UPDATE_ON_KVSTORE=0) all stop at the same batch when one has a reason.
    Each has checkpoints of its own, in ``worker-0``, ``worker-1`` … of the folder, and all go on from the same one.

    Args:
        module: `mx.mod.Module`; other modules without `checkpoint`.
        train_data: iterator; to be resumed it has to have ``seek(epoch, batch)``, as those of `mxloss.io` do.
        eval_data: iterator of the validation data.
        eval_metric: metric, or what `mx.metric.create` makes one from.
        num_epoch: how many epochs there are in all, those before a checkpoint included.
        begin_epoch: number of the first epoch where there is nothing to resume from.
        stop: `mxloss.stop` criteria, one or a list.
        checkpoint: `mxloss.checkpoint.Folder`, or a path. Without `resume` there may be no checkpoint in it yet.
        resume: go on from the last checkpoint, if there is one.
        seed: whole number; the parameters are initialised from it, and MXNet's, NumPy's and Python's generators are
            seeded at each batch from it, the epoch and the batch. MXNet's costs about 1.3 ms of the engine, and is left
            alone within an epoch where neither network nor optimizer draws.
        stop_on_signal: on SIGINT or SIGTERM, stop after the batch that is under way. A second one acts as usual.
        watch: callbacks of `mxloss.callback` that are told of batches, validations and resuming.
        arguments: whatever else `Module.fit` takes, by name. Callbacks are told the batch of the epoch, resumed or not;
            ``locals`` has beside Module's own variables `step` (batches of the run), `partial` (the epoch was cut), and
            `num_epoch`, `begin_epoch`, `train_data` as they are given here.

    Returns:
        `mxloss.stop.Outcome`: where and why it ended.

    Raises:
        ValueError: what is wrong about an argument or a checkpoint; nothing has been trained then.

    Examples:
        >>> net = mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(mx.sym.var('data'), num_hidden=1), name='line')
        >>> module = mx.mod.Module(net, label_names=['line_label'])
        >>> train = mxloss.io.ArrayIter(np.ones((8, 1)), np.ones((8, 1)), 2, label_name='line_label')
        >>> fit(module, train, eval_metric='mse', num_epoch=50, initializer=mx.init.Zero(),
        ...     optimizer_params={'learning_rate': 0.2},
        ...     stop=mxloss.stop.Target('mse', 0.001, direction='min', every='batch'))  # doctest: +ELLIPSIS
        Outcome(reason='target', epoch=1, batch=3, name='mse', value=0.000..., data='train', signal=None)
    """
    fixed = _known_arguments(module, arguments)
    metric = mx.metric.create(eval_metric)
    validation_metric = fixed["validation_metric"] = mx.metric.create(fixed["validation_metric"] or metric)
    if seed is not None:
        seed = _check.integer("fit", "seed", seed, low=0)
    begin_epoch = _check.integer("fit", "begin_epoch", begin_epoch, low=0)
    num_epoch = _check.integer("fit", "num_epoch", num_epoch, low=0)
    signals = Signals(_check.flag("fit", "stop_on_signal", stop_on_signal))
    judge = Judge("fit", stop, metric, validation=eval_data is not None, validation_metric=validation_metric)
    if checkpoint is not None and not isinstance(checkpoint, Folder):
        checkpoint = Folder(checkpoint)
    workers = Workers(module._kvstore if module.optimizer_initialized else fixed["kvstore"],
                      bool(judge.criteria) or signals.enabled, checkpoint is not None)
    fixed["kvstore"] = workers.kvstore
    folder, reached = _opened(checkpoint, _check.flag("fit", "resume", resume), train_data, workers)
    if reached is not None:
        for name, value in (("seed", seed), ("batch_size", train_data.batch_size)):
            if reached.state[name] != value:
                _check.fail("fit", name, "{!r} as in the checkpoint".format(reached.state[name]), value)

    _prepare(module, train_data, fixed, seed, folder, reached)
    if resume:
        folder.rewind((reached.epoch, reached.batch) if reached is not None else (-1, 0))
    run = _Run(module, train_data, eval_data, metric, fixed, (begin_epoch, num_epoch), judge, folder, seed, signals,
               watch, workers)
    if reached is not None:
        run.resume(reached)
    try:
        with signals, _quiet(module.logger):
            return run.to_the_end()
    finally:
        for watcher in watch:
            watcher.close()


def _known_arguments(module, arguments):
    """All arguments of `Module.fit` that `fit` does not look at itself, by name."""
    parameters = inspect.signature(module.fit).parameters
    own = ("train_data", "eval_data", "eval_metric", "begin_epoch", "num_epoch")
    _check.names("fit", "arguments", arguments, [name for name in parameters if name not in own])
    return dict({name: parameter.default for name, parameter in parameters.items() if name not in own}, **arguments)


def _opened(checkpoint, resume, train_data, workers):
    """The folder of checkpoints and the one to go on from, each None if there is none."""
    if checkpoint is None:
        if resume:
            _check.fail("fit", "resume", "False without `checkpoint`", resume)
        return None, None
    folder = workers.folder(checkpoint)
    if not resume and folder.list():
        _check.fail("fit", "resume", "True, or `checkpoint` a folder without checkpoints", resume,
                    where=": {} has some".format(folder.path))
    folder.clean()
    place = workers.common(next(reversed(folder.list()), None)) if resume else None
    reached = None if place is None else folder.load(place)
    if reached is not None and not hasattr(train_data, "seek"):
        _check.fail("fit", "train_data", "an iterator with seek(epoch, batch) to be resumed, as those of mxloss.io",
                    type(train_data).__name__)
    return folder, reached


def _prepare(module, train_data, fixed, seed, folder, reached):
    """Bind the module and initialise it and its optimizer as `Module.fit` does, or as the checkpoint says."""
    if seed is not None:
        random.seed(seed)
    module.bind(data_shapes=train_data.provide_data, label_shapes=train_data.provide_label, for_training=True,
                force_rebind=fixed.pop("force_rebind"))
    given = {name: fixed.pop(name) for name in
             ("initializer", "arg_params", "aux_params", "allow_missing", "force_init")}
    optimizer = {name: fixed.pop(name) for name in ("kvstore", "optimizer", "optimizer_params")}
    with _quiet(module.logger):
        if reached is None:
            module.init_params(**given)
            module.init_optimizer(**optimizer)
        else:  # the parameters first: the kvstore takes them over from the module, and from then on has the last word
            state.check_params(module, reached.params)
            module.init_params(None, *_by_kind(reached.params), force_init=True)
            module.init_optimizer(force_init=True, **optimizer)
    if folder is not None:
        state.check(module)
    if reached is not None:
        state.write_optimizer(module, reached.state["module"])
        state.write_devices(module, reached.state["module"])


def _by_kind(params):
    return [{name[4:]: array for name, array in params.items() if name.startswith(kind)} for kind in ("arg:", "aux:")]


class _Run:
    """One training, epoch by epoch."""

    def __init__(self, module, train_data, eval_data, metric, fixed, epochs, judge, folder, seed, signals, watch,
                 workers):
        self.module, self.train_data, self.eval_data, self.metric = module, train_data, eval_data, metric
        self.judge, self.folder, self.seed, self.signals, self.watch = judge, folder, seed, signals, list(watch)
        self.callbacks = _as_list(fixed.pop("batch_end_callback")) + self.watch
        self.end_callbacks = _as_list(fixed.pop("eval_end_callback")) + [
            watcher.validated for watcher in self.watch if hasattr(watcher, "validated")]
        if fixed["monitor"] is not None:
            fixed["monitor"] = _OnceInstalled(fixed["monitor"])
        self.fixed, (self.begin_epoch, self.num_epoch) = fixed, epochs
        self.epoch, self.first, self.step = self.begin_epoch, 0, 0
        self.outcome, self.within = None, None
        self.last = None, None  # epoch and batch
        self.workers = workers
        self.draws = seed is not None and (
            module.symbol is None or random.draws(module.symbol) or
            isinstance(getattr(module, "_optimizer", None), mx.optimizer.SGLD))

    def resume(self, reached):
        """Start from a checkpoint."""
        self.epoch, self.first, self.step = reached.epoch, reached.batch, reached.state["step"]
        self.last = reached.state["last"]
        self.outcome = self.judge.restore(reached.state["judge"])
        self.within = reached.state["metric"] if self.first else None
        for watcher in self.watch:
            if hasattr(watcher, "resumed"):
                watcher.resumed(self.epoch, self.first, self.step)

    def to_the_end(self):
        self._agree(self.outcome)  # which a checkpoint may have brought along
        while self.outcome is None and self.epoch < self.num_epoch:
            self._train_epoch()
            self.epoch, self.first, self.within = self.epoch + 1, 0, None
        return self.outcome or Outcome("end", *self.last)

    def _train_epoch(self):
        if hasattr(self.train_data, "seek"):
            self.train_data.seek(self.epoch, self.first)
        if hasattr(self.eval_data, "seek"):
            self.eval_data.seek(self.epoch, 0)
        if not self.first:
            self.judge.begin_epoch()
        self.values = {}
        self.data = _EndableIter(self.train_data, self._before_first, self._after_batch)
        self.module.fit(self.data, self.eval_data, self.metric, begin_epoch=self.epoch, num_epoch=self.epoch + 1,
                        batch_end_callback=self._batch_end, eval_end_callback=self._validated, **self.fixed)
        if self.data.whole:
            at_epoch = self.judge.epoch_done(*self.last, self.values)
            self._agree(self.outcome or at_epoch or self._signalled())
            self._save(self.epoch + 1, 0)

    def _before_first(self):
        """Called by the iterator before its first batch, when `Module.fit` has reset the metric."""
        if self.within is not None:
            restore_metric(self.metric, self.within)
        self._seed(self.first, True)

    def _after_batch(self, batch):
        """Called by the iterator after each batch's step and metrics: whether the epoch is to be ended."""
        self.last = self.epoch, self.first + self.data.given - 1
        for window in self.judge.windows:
            if isinstance(batch, list):
                self.module.update_metric(window, [part.label for part in batch], pre_sliced=True)
            else:
                self.module.update_metric(window, batch.label)
        found = self.outcome and self.outcome._replace(epoch=self.last[0], batch=self.last[1])
        self._agree(found or self.judge.batch_done(*self.last) or self._signalled())
        return self.outcome is not None

    def _agree(self, outcome):
        self.outcome = self.workers.agree(outcome, *self.last)

    def _signalled(self):
        caught = self.signals.caught
        return None if caught is None else Outcome("signal", *self.last, signal=caught)

    def _batch_end(self, param):
        """The one `batch_end_callback`."""
        self.step += 1
        ended = param.locals["end_of_batch"]
        cut = ended and not self.data.whole
        if ended:  # `Module.fit` is going to read all auxiliary states
            wait_for_outputs(self.module)
            self.values["train"] = dict(param.locals["eval_name_vals"])
        batch = self.first + param.nbatch
        told = param._replace(nbatch=batch, locals=dict(param.locals, nbatch=batch, **self._told(cut)))
        for callback in self.callbacks:
            callback(told)
        every = self.folder and self.folder.every
        if cut or (every and not ended and (batch + 1) % every == 0):
            self._save(self.epoch, batch + 1)
        self._seed(batch + 1, self.draws)

    def _validated(self, param):
        """The one `eval_end_callback`."""
        self.values["validation"] = dict(param.eval_metric.get_global_name_value())
        told = param._replace(locals=dict(param.locals, batch=self.last[1], **self._told(not self.data.whole)))
        for callback in self.end_callbacks:
            callback(told)

    def _told(self, partial):
        return {"num_epoch": self.num_epoch, "begin_epoch": self.begin_epoch, "train_data": self.train_data,
                "step": self.step, "partial": partial}

    def _seed(self, batch, mxnet):
        if self.seed is not None:
            random.seed(self.seed, self.epoch, batch, self.workers.rank, mxnet=mxnet)

    def _save(self, epoch, batch):
        """Write a checkpoint to go on from with a batch of an epoch."""
        if self.folder is None:
            return
        params, rest = state.read(self.module, within_epoch=batch > 0)
        self.outcome = self.outcome or self.judge.params_read(*self.last, params)
        kept = {"module": rest, "metric": metric_state(self.metric) if batch else None, "judge": self.judge.state(),
                "step": self.step, "last": self.last, "seed": self.seed, "batch_size": self.train_data.batch_size}
        self.folder.save(epoch, batch, params, kept, symbol=self.module.symbol, values=None if batch else self.values,
                         failed=self.outcome is not None and self.outcome.reason == "not_finite")


class _EndableIter:
    """The rest of an epoch of another iterator, which may be ended after any batch.

    `Module.fit` asks for a batch when the one before is trained and counted by the metric, and before it calls its
    `batch_end_callback`.

    Args:
        base: the iterator.
        before_first: called before the first batch is taken.
        after_batch: called with each batch when the next is asked for; True ends the epoch.

    Attributes:
        given: batches so far.
        whole: the other iterator came to its end.
    """

    def __init__(self, base, before_first, after_batch):
        self.base, self.before_first, self.after_batch = base, before_first, after_batch
        self.given, self.whole = 0, False

    provide_data = property(lambda self: self.base.provide_data)
    provide_label = property(lambda self: self.base.provide_label)
    batch_size = property(lambda self: self.base.batch_size)

    def __iter__(self):
        self._batches = iter(self.base)
        return self

    def __next__(self):
        if self.given:
            ended = self.after_batch(self._batch)
        else:
            ended = False
            self.before_first()
        try:
            self._batch = next(self._batches)
        except StopIteration:
            self.whole = True
            if not self.given:
                _check.fail("fit", "train_data", "an iterator with a batch left", type(self.base).__name__)
            raise
        if ended:
            raise StopIteration
        self.given += 1
        return self._batch

    def reset(self):
        self.base.reset()


class _OnceInstalled:
    """A monitor that each call of `Module.fit` may install, and that still tells everything once."""

    def __init__(self, monitor):
        self._monitor = monitor

    def __getattr__(self, name):
        return getattr(self._monitor, name)

    def install(self, executor):
        if executor not in self._monitor.exes:
            self._monitor.install(executor)


def _as_list(callbacks):
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


@contextlib.contextmanager
def _quiet(logger):
    """Without the warnings, at each epoch, that a module is bound and initialised already."""
    logger = logging.getLogger() if logger is logging else logger
    known = ("Already bound, ignoring bind()", "optimizer already initialized, ignoring...")

    def wanted(record):
        return record.msg not in known
    logger.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Parameters already initialized")
            yield
    finally:
        logger.removeFilter(wanted)
