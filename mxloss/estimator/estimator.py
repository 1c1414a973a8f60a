"""MXNet's own Estimator for networks with several outputs and named losses."""
import copy

from mxnet import gluon
from mxnet.gluon.contrib import estimator as stock

from .. import _check
from ..checkpoint import Folder
from ..loss import LossGroup
from ..stop import Outcome
from ..workers import Workers
from .batch import BatchProcessor
from .handler import GradientUpdateHandler, MetricHandler, loss_metrics
from .loader import as_loader
from .run import Feed, Run
from .stop import CheckpointHandler, StopHandler
from .watch import Watcher


class Estimator(stock.Estimator):
    """Train a Gluon network on named losses with MXNet's own `Estimator`, whose loop this is.

    What it adds: losses by name, each with the outputs and labels that it needs and with parameters of its own;
    penalties of a `WithPenalties`; several devices with a last batch of any size; a metric for each loss.

    Args:
        net: the network.
        loss: a `LossGroup`, or one loss block, which is then called 'loss'.
        train_metrics: more metrics to read along; see `MetricHandler` for how they find their arrays.
        val_metrics: the same for validation; by default those of training.
        initializer: for what is not yet initialised of the network.
        trainer: `gluon.Trainer` of the parameters of the network and of the losses.
        context: the devices; by default those of the network.
        val_net: another network for validation.
        val_loss: other losses for validation.
        batch_processor: another `BatchProcessor`.

    Attributes:
        train_metrics: metrics called 'training <name>', one of them for each loss, and 'training total_loss' if there
            are several.
        val_metrics: the same as 'validation <name>'.
        before_step: what is called with the estimator and the number of samples before each step of a `fit`.

    Raises:
        ValueError: devices that the network is not on; parameters of a loss that the trainer does not train.

    Examples:
        >>> net = mx.gluon.nn.Dense(1, in_units=2)
        >>> net.initialize(mx.init.One())
        >>> losses = mxloss.LossGroup({'squared': mx.gluon.loss.L2Loss(), 'absolute': mx.gluon.loss.L1Loss()})
        >>> trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
        >>> estimator = mxloss.estimator.Estimator(net, losses, trainer=trainer)
        >>> estimator.logger.handlers.clear()
        >>> estimator.fit(mx.io.NDArrayIter(np.ones((4, 2)), np.ones(4), 2), epochs=1).reason
        'end'
        >>> dict(metric.get() for metric in estimator.train_metrics)
        {'training squared': 0.28..., 'training absolute': 0.69..., 'training total_loss': 0.98...}
    """

    def __init__(self, net, loss, train_metrics=None, val_metrics=None, initializer=None, trainer=None, context=None,
                 val_net=None, val_loss=None, batch_processor=None):
        losses = self._check_loss(loss)
        self.run, self._updating, self.before_step = Run(), GradientUpdateHandler(), []
        self._val_losses = losses if val_loss is None else self._check_loss(val_loss)
        super().__init__(net, losses, train_metrics, val_metrics, initializer, trainer, context, val_net,
                         self._val_losses, batch_processor or BatchProcessor(losses))

    def fit(self, train_data, val_data=None, epochs=None, event_handlers=None, batches=None, batch_axis=0, *,
            stop=None, checkpoint=None, resume=False, seed=None, stop_on_signal=False):
        """Train for `epochs` epochs or `batches` batches, with MXNet's `Estimator.fit`.

        What is resumed goes on as if it had not stopped, also inside an epoch: with a `seed`, for it decides what is
        drawn for each batch, and with data that is drawn in this process, as by a DataLoader without workers or an
        iterator of `mxloss.io`.

        On several workers (`dist_sync`, update_on_kvstore=False) all stop at the same batch when one has a reason. Each
        has checkpoints of its own, in ``worker-0``, ``worker-1`` … of the folder, and all go on from the same one.

        Args:
            train_data: a `gluon.data.DataLoader` or a `mx.io.DataIter`.
            val_data: the same, to validate on after each epoch.
            epochs: how many times to go through the data, what a resumed training has done included.
            event_handlers: a handler or several.
            batches: how many batches to train on, instead of `epochs`.
            batch_axis: the axis of the samples.
            stop: criteria of `mxloss.stop`, one or a list; names are those of metrics, without 'training'.
            checkpoint: a `mxloss.checkpoint.Folder` or the path of one. Without `resume` there may be no checkpoint in
                it yet.
            resume: go on from the last checkpoint, if there is one.
            seed: whole number that decides all that is drawn.
            stop_on_signal: SIGINT and SIGTERM end the training after the batch, with a checkpoint.

        Returns:
            `mxloss.stop.Outcome`, which says where and why it ended.

        Raises:
            ValueError: before anything is trained, whatever is wrong with the arguments or the checkpoint.
        """
        train_data, val_data = as_loader("fit", "train_data", train_data), as_loader("fit", "val_data", val_data)
        if train_data is None or (epochs is None) == (batches is None):
            _check.fail("fit", "epochs", "given, or `batches` instead, and data to train on", epochs)
        if seed is not None:
            seed = _check.integer("fit", "seed", seed, low=0)
        handlers = _listed(event_handlers)
        run, self.before_step = Run(), []
        self.run = run
        stopping = StopHandler(self, stop, on_signal=stop_on_signal, validation=val_data is not None or any(
            isinstance(handler, stock.ValidationHandler) for handler in handlers))
        handlers += [run, stopping]
        if checkpoint is not None and not isinstance(checkpoint, Folder):
            checkpoint = Folder(checkpoint)
        stopping.workers = self._workers(bool(stopping.judge.criteria) or stop_on_signal, checkpoint is not None)
        if checkpoint is not None:
            folder = stopping.workers.folder(checkpoint)
            folder.clean()
            handlers.append(CheckpointHandler(folder, stopping, seed))
            if _check.flag("fit", "resume", resume):
                handlers[-1].resume(self)
            elif folder.list():
                _check.fail("fit", "resume", "True, or `checkpoint` a folder without checkpoints", resume,
                            where=": {} has some".format(folder.path))
        elif resume:
            _check.fail("fit", "resume", "False where there is no `checkpoint`", resume)
        stopping.outcome = stopping.workers.agree(stopping.outcome, *run.last)
        if stopping.outcome is not None:  # what the checkpoint is of had come to its end
            return stopping.outcome
        if run.epoch >= (run.epoch + 1 if epochs is None else epochs) or run.step >= (batches or run.step + 1):
            return Outcome("end", *run.last)
        watchers = [handler for handler in handlers if isinstance(handler, Watcher)]
        if run.step:
            for watcher in watchers:
                watcher.resumed(self)
        self.feed = Feed(train_data, run, self.net, self.loss, self.trainer, seed)
        try:
            with stopping.signals:
                super().fit(self.feed, val_data, epochs, handlers, batches, batch_axis)
        finally:  # an error must not leave gradients that add up
            self._updating.train_end(self)
            for watcher in watchers:
                watcher.close()
        return stopping.outcome or Outcome("end", *run.last)

    def _workers(self, may_stop, saves):
        """The workers of the trainer's kvstore, which Trainer itself would make at its first step."""
        settings = self.trainer._kvstore_params
        workers = Workers(self.trainer._kvstore or settings["kvstore"], may_stop, saves, settings["update_on_kvstore"])
        if not self.trainer._kv_initialized:
            settings["kvstore"] = workers.kvstore
        return workers

    def evaluate(self, val_data, batch_axis=0, event_handlers=None):
        """Let the validation metrics take in `val_data`; see MXNet's `Estimator.evaluate`."""
        self.run.validated = True
        return super().evaluate(as_loader("evaluate", "val_data", val_data), batch_axis, event_handlers)

    @property
    def pending(self):
        """How many batches were gathered for a step that is still to be made."""
        return self._updating.pending

    # What MXNet's Estimator asks itself.

    def _check_loss(self, loss):
        if isinstance(loss, LossGroup):
            return loss
        if not isinstance(loss, gluon.Block):
            _check.fail("Estimator", "loss", "a LossGroup or a loss block", loss, TypeError)
        return LossGroup({"loss": loss})

    def _check_context(self, context):
        known = self._is_initialized() and {device for parameter in self.net.collect_params().values()
                                            for device in parameter.list_ctx()}
        if not known:
            return super()._check_context(context)
        first = next(iter(self.net.collect_params().values())).list_ctx()
        context = super()._check_context(context or first)
        if set(context) != known:
            _check.fail("Estimator", "context", "the devices of the network, {}".format(first), context)
        return context

    def _initialize(self, initializer):
        super()._initialize(initializer)
        for parameter in self.loss.collect_params().values():
            try:
                parameter.list_ctx()
            except RuntimeError:  # what MXNet says of a parameter that is not initialised
                parameter.initialize(ctx=self.context)

    def _check_trainer(self, trainer):
        if not isinstance(trainer, gluon.Trainer):
            _check.fail("Estimator", "trainer", "a gluon.Trainer", trainer, TypeError)
        trained = {id(parameter) for parameter in trainer.optimizer.param_dict.values()}
        for name, parameter in self.loss.collect_params().items():
            if parameter.grad_req != "null" and id(parameter) not in trained:
                _check.fail("Estimator", "trainer", "of the parameters of the losses too, {**net.collect_params(), "
                            "**loss.collect_params()}", "none for " + name)
        return trainer

    def _add_default_training_metrics(self):
        own = list(self._train_metrics)
        self._val_metrics = list(self._val_metrics) or copy.deepcopy(own)
        for metric in own:
            metric.name = "training " + metric.name
        self._train_metrics = own + loss_metrics("training", self.loss.weights)

    def _add_validation_metrics(self):
        for metric in self._val_metrics:
            metric.name = "validation " + metric.name
        self._val_metrics += loss_metrics("validation", self._val_losses.weights)

    def _prepare_default_handlers(self, val_data, event_handlers):
        handlers = _listed(event_handlers)
        updating = [handler for handler in handlers if isinstance(handler, stock.GradientUpdateHandler)]
        if not updating:
            handlers.append(GradientUpdateHandler())
        elif not isinstance(updating[0], GradientUpdateHandler):
            _check.fail("fit", "event_handlers", "with the GradientUpdateHandler of mxloss", updating[0], TypeError)
        self._updating = (updating or handlers[-1:])[0]
        if not any(isinstance(handler, stock.MetricHandler) for handler in handlers):
            handlers.append(MetricHandler(self._train_metrics))
        handlers = super()._prepare_default_handlers(val_data, handlers)
        if self.run.step:
            self.run.take_over(handlers)
        return handlers

    def _prepare_default_validation_handlers(self, event_handlers):
        handlers = _listed(event_handlers)
        if not any(isinstance(handler, stock.MetricHandler) for handler in handlers):
            handlers.append(MetricHandler(self._val_metrics, "validation"))
        return super()._prepare_default_validation_handlers(handlers)


def _listed(handlers):
    if isinstance(handlers, stock.event_handler.EventHandler):
        return [handlers]
    handlers = list(handlers or ())
    for handler in handlers:
        if not isinstance(handler, stock.event_handler.EventHandler):
            _check.fail("fit", "event_handlers", "handlers of an Estimator", handler, TypeError)
    return handlers
