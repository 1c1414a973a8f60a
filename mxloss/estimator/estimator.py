"""MXNet's own Estimator for networks with several outputs and named losses."""
import copy

from mxnet import gluon
from mxnet.gluon.contrib import estimator as stock

from .. import _check
from ..loss import LossGroup
from .batch import BatchProcessor
from .handler import GradientUpdateHandler, MetricHandler, loss_metrics
from .loader import as_loader


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

    Raises:
        ValueError: devices that the network is not on; parameters of a loss that the trainer does not train.

    Examples:
        >>> net = mx.gluon.nn.Dense(1, in_units=2)
        >>> net.initialize(mx.init.One())
        >>> losses = mxloss.LossGroup({'squared': mx.gluon.loss.L2Loss(), 'absolute': mx.gluon.loss.L1Loss()})
        >>> trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
        >>> estimator = mxloss.estimator.Estimator(net, losses, trainer=trainer)
        >>> estimator.logger.handlers.clear()
        >>> estimator.fit(mx.io.NDArrayIter(np.ones((4, 2)), np.ones(4), 2), epochs=1)
        >>> dict(metric.get() for metric in estimator.train_metrics)
        {'training squared': 0.28..., 'training absolute': 0.69..., 'training total_loss': 0.98...}
    """

    def __init__(self, net, loss, train_metrics=None, val_metrics=None, initializer=None, trainer=None, context=None,
                 val_net=None, val_loss=None, batch_processor=None):
        losses = self._check_loss(loss)
        self._val_losses = losses if val_loss is None else self._check_loss(val_loss)
        super().__init__(net, losses, train_metrics, val_metrics, initializer, trainer, context, val_net,
                         self._val_losses, batch_processor or BatchProcessor(losses))

    def fit(self, train_data, val_data=None, epochs=None, event_handlers=None, batches=None, batch_axis=0):
        """Train for `epochs` epochs or `batches` batches; see MXNet's `Estimator.fit`.

        Args:
            train_data: a `gluon.data.DataLoader` or a `mx.io.DataIter`.
            val_data: the same, to validate on after each epoch.
            epochs: how many times to go through the data.
            event_handlers: a handler or several.
            batches: how many batches to train on, instead of `epochs`.
            batch_axis: the axis of the samples.
        """
        return super().fit(as_loader("fit", "train_data", train_data), as_loader("fit", "val_data", val_data),
                           epochs, event_handlers, batches, batch_axis)

    def evaluate(self, val_data, batch_axis=0, event_handlers=None):
        """Let the validation metrics take in `val_data`; see MXNet's `Estimator.evaluate`."""
        return super().evaluate(as_loader("evaluate", "val_data", val_data), batch_axis, event_handlers)

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
        handlers = stock.event_handler._check_event_handlers(event_handlers)[:]
        if not any(isinstance(handler, stock.GradientUpdateHandler) for handler in handlers):
            handlers.append(GradientUpdateHandler())
        if not any(isinstance(handler, stock.MetricHandler) for handler in handlers):
            handlers.append(MetricHandler(self._train_metrics))
        return super()._prepare_default_handlers(val_data, handlers)

    def _prepare_default_validation_handlers(self, event_handlers):
        handlers = stock.event_handler._check_event_handlers(event_handlers)[:]
        if not any(isinstance(handler, stock.MetricHandler) for handler in handlers):
            handlers.append(MetricHandler(self._val_metrics, "validation"))
        return super()._prepare_default_validation_handlers(handlers)
