"""Which losses a network optimises, read off its symbol."""
import mxnet as mx

from .. import _check
from .base import Metric
from .graph import ELEMENTWISE, Graph
from .group import Group
from .loss import Loss
from .measure import Accuracy, ClassifierMeasure


def from_symbol(symbol, report="item", *, extra=(), nan="raise", wait_every=16):
    """Make a metric that reports every loss that a network optimises, from the outputs of the training pass.

    Each SoftmaxOutput gives ``accuracy`` (``<name>_accuracy`` if there are several) and ``<name>_loss``, each
    regression head and SVMOutput ``<name>_loss``, each MakeLoss ``<name>``, with the factor that its gradient has:
    `grad_scale`, for the operator `centerloss` its `scale`. ``total_loss`` is the sum of the losses, if there are
    several. BlockGrad outputs are no losses. Heads may stand behind operators that only change the shape.

    A label that the network makes itself is read from an output ``BlockGrad(label)``. A MakeLoss over a single number
    is taken for the mean over the batch, and for the sum if it is a `sum`, times a number or not.

    Args:
        symbol: the network, a Group of its heads.
        report: 'item', 'batch', 'sum' or 'scaled_sum', see `Loss`.
        extra: more metrics to read along. A measure of class scores without names is taken for one of the network's
            only SoftmaxOutput.
        nan: what to do about a batch whose loss is not finite, 'raise' or 'warn'.
        wait_every: how many batches may gather before the metric waits for them.

    Returns:
        A `Group`, which is a `mx.metric.CompositeEvalMetric`.

    Raises:
        ValueError: if the symbol has no loss, or one that its outputs do not tell.

    Examples:
        >>> net = mx.sym.Group([mx.sym.SoftmaxOutput(mx.sym.var('data'), name='softmax'),
        ...                     mx.sym.MakeLoss(mx.sym.var('penalty'), name='penalty', grad_scale=0.1)])
        >>> from_symbol(net, extra=[mxloss.metric.TopK(k=2)]).get()[0]
        ['accuracy', 'softmax_loss', 'penalty', 'total_loss', 'top_2_accuracy']
    """
    graph = Graph(symbol)
    shared = {"nan": nan, "wait_every": wait_every}
    classifiers = [head for head in graph.heads if head.op == "SoftmaxOutput"]
    accuracies = [Accuracy(head.name + "_accuracy" if len(classifiers) > 1 else "accuracy", **head.arguments, **shared)
                  for head in classifiers]
    losses = [Loss(head.name if head.op in ELEMENTWISE else head.name + "_loss", head=head.op, report=report,
                   **head.arguments, **shared) for head in graph.heads]
    if not losses:
        _check.fail("from_symbol", "symbol", "a network with a head that has a loss", graph.outputs)
    measures = [_named(metric, classifiers, graph) for metric in map(mx.metric.create, extra)]
    return Group(accuracies + losses + measures, output_names=graph.outputs, label_names=graph.labels(),
                 shown=graph.shown(), total=[loss.name for loss in losses])


def _named(metric, classifiers, graph):
    """`metric` with the names of the only classifier, if it has none; its names are checked."""
    if isinstance(metric, ClassifierMeasure) and metric.output_names is None and len(classifiers) == 1:
        metric = mx.metric.create(dict(metric.get_config(), **classifiers[0].arguments))
    outputs = metric.output_names
    if outputs is None and isinstance(metric, Metric):
        outputs = graph.outputs
        if len(outputs) != metric.reads:
            _check.fail(metric.name, "output_names", "given where there are several outputs", None)
    _check.names(metric.name, "output_names", outputs or [], graph.outputs)
    _check.names(metric.name, "label_names", metric.label_names or [], graph.arguments + graph.outputs)
    return metric
