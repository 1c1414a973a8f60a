"""Handlers that know every loss by name: the step, the metrics."""
import mxnet as mx
from mxnet.gluon.contrib import estimator as stock

from .. import _check
from ..metric import Loss, Metric
from .batch import PartLosses


class GradientUpdateHandler(stock.GradientUpdateHandler, stock.TrainBegin, stock.EpochEnd, stock.TrainEnd):
    r"""Make a step after every so many batches, with the mean gradient over all their samples.

    .. math:: g = \frac{\sum_b \sum_i \nabla L_{b,i}}{\sum_b n_b}

    What is left over at the end of an epoch makes a step of its own. Batches that are gathered act as one large batch,
    but for what a network does with its batch as a whole, as batch normalisation.

    Args:
        batches: how many batches make a step, at least 1.
        batch_size: what the gradients of a step are divided by, the number of its samples by default. With several
            workers it has to be the same number on all of them, that of the samples of all.
        priority: handlers are called from the lowest to the highest.

    Attributes:
        pending: batches gathered since the last step.

    Examples:
        >>> handler = GradientUpdateHandler(batches=4)      # estimator.fit(..., event_handlers=[handler])
    """

    def __init__(self, batches=1, priority=-2000, *, batch_size=None):
        super().__init__(priority)
        self.batch_size = None if batch_size is None else \
            _check.integer("GradientUpdateHandler", "batch_size", batch_size, low=1)
        self.batches = _check.integer("GradientUpdateHandler", "batches", batches, low=1)
        self.pending, self._samples, self._added = 0, 0, []

    def train_begin(self, estimator, *args, **kwargs):
        """Let gradients be added up where batches are gathered."""
        self.pending = self._samples = 0
        self._added = []
        if self.batches == 1:
            return
        for parameter in trained(estimator).values():
            if parameter.grad_req == "write":
                parameter.grad_req = "add"
                self._added.append(parameter)

    def batch_end(self, estimator, *args, **kwargs):
        """Make a step if this was the last batch of those that are gathered."""
        loss = kwargs["loss"]
        self._samples += sum(part.shape[0] for part in (loss if isinstance(loss, list) else [loss]))
        self.pending += 1
        if self.pending == self.batches:
            self._step(estimator)

    def epoch_end(self, estimator, *args, **kwargs):
        """Make a step of what is left over."""
        if self.pending:
            self._step(estimator)

    def train_end(self, estimator, *args, **kwargs):
        """Let gradients be written again."""
        for parameter in self._added:
            parameter.grad_req = "write"

    def _step(self, estimator):
        divisor = self.batch_size or self._samples
        for look in getattr(estimator, "before_step", ()):
            look(estimator, divisor)
        estimator.trainer.step(divisor)
        for parameter in self._added:
            parameter.zero_grad()
        self.pending = self._samples = 0


class MetricHandler(stock.MetricHandler):
    """Update metrics with outputs, labels and losses by name, as a `PartLosses` has them.

    A metric with `output_names` and `label_names` takes those: an output or a label by its index or key, as in a
    `LossGroup`, a loss by its name, their sum as 'total_loss'. One without names takes the network's outputs and all
    labels. `mx.metric.Loss` takes the total.

    Args:
        metrics: a list of metrics. One is added to it for each loss that has none: a penalty, whose name is not known
            before the network has computed.
        kind: 'training' or 'validation', how the names of those begin.
        priority: handlers are called from the lowest to the highest.
    """

    def __init__(self, metrics, kind="training", priority=-1000):
        super().__init__(metrics, priority)
        self.kind = _check.choice("MetricHandler", "kind", kind, ("training", "validation"))

    def batch_end(self, estimator, *args, **kwargs):
        """Take in a batch."""
        loss = kwargs["loss"]
        if not isinstance(loss, PartLosses):
            _check.fail("MetricHandler", "batch_processor", "a mxloss.estimator.BatchProcessor",
                        estimator.batch_processor)
        read = {name for metric in self.metrics if isinstance(metric, Loss) for name in metric.output_names or ()}
        self.metrics += [metric for metric in loss_metrics(self.kind, loss.names) if metric.output_names[0] not in read]
        update(self.metrics, loss)


def update(metrics, loss):
    """Let metrics take in the `PartLosses` of a batch."""
    for metric in metrics:
        if isinstance(metric, mx.metric.Loss):
            metric.update(0, loss)
            continue
        shown = [(labels, arrays if metric.output_names is not None else _without(arrays, loss.names))
                 for labels, arrays in loss.named]
        if isinstance(metric, Metric):
            metric.update([labels for labels, _ in shown], [arrays for _, arrays in shown])
        else:
            for labels, arrays in shown:
                metric.update_dict(labels, arrays)


def loss_metrics(kind, names):
    """A metric for each loss, and for their sum if there are several."""
    names = list(names)
    total = ["total_loss"] if len(names) > 1 else []
    return [Loss("{} {}".format(kind, name), output_names=[name]) for name in names + total]


def _without(arrays, losses):
    return {name: array for name, array in arrays.items() if name not in losses and name != "total_loss"}


def trained(estimator):
    """All parameters that the estimator trains, those of the losses with them, by name."""
    return {**estimator.net.collect_params(), **estimator.batch_processor.losses.collect_params()}
