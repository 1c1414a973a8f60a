"""Which losses a network optimises, read off its symbol."""
import json

from .. import _check
from .group import Group
from .loss import Loss
from .measure import Accuracy


def from_symbol(symbol, report="item", *, extra=(), nan="raise", wait_every=16):
    """Make a metric that reports every loss that a network optimises, from the outputs of the training pass.

    Each classification head gives ``accuracy`` (``<name>_accuracy`` if there are several) and ``<name>_loss``, each
    MakeLoss head ``<name>``, with the factor that its gradient has. ``total_loss`` is the sum of the losses, if there
    are several.

    Args:
        symbol: the network, a Group of its heads.
        report: 'item', the mean over all items.
        extra: more metrics to read along.
        nan: what to do about a batch whose loss is not finite, 'raise' or 'warn'.
        wait_every: how many batches may gather before the metric waits for them.

    Returns:
        A `Group`, which is a `mx.metric.CompositeEvalMetric`.

    Raises:
        ValueError: if the symbol has no loss, or one that cannot be read.

    Examples:
        >>> net = mx.sym.Group([mx.sym.SoftmaxOutput(mx.sym.var('data'), name='softmax'),
        ...                     mx.sym.MakeLoss(mx.sym.var('penalty'), name='penalty', grad_scale=0.1)])
        >>> from_symbol(net).get()[0]
        ['accuracy', 'softmax_loss', 'penalty', 'total_loss']
    """
    graph = Graph(symbol)
    shared = {"nan": nan, "wait_every": wait_every}
    accuracies, losses = [], []
    heads = graph.heads()
    several = sum(head.op == "SoftmaxOutput" for head in heads) > 1
    for head in heads:
        names = {"output_names": [head.output], "label_names": head.labels}
        if head.op == "SoftmaxOutput":
            accuracies.append(Accuracy(head.name + "_accuracy" if several else "accuracy", **names, **shared))
        name = head.name if head.op in ("MakeLoss", "centerloss") else head.name + "_loss"
        losses.append(Loss(name, head=head.op, report=report, **names, **shared, **head.options))
    if not losses:
        _check.fail("from_symbol", "symbol", "a network with a head that has a loss", graph.outputs)
    extra = list(extra)
    for metric in extra:
        _check.names("from_symbol", "extra", metric.output_names or [], graph.outputs)
    return Group(accuracies + losses + extra, output_names=graph.outputs, label_names=graph.label_names(heads),
                 total=[loss.name for loss in losses])


class HeadNode:
    """A head of the graph: its operator and name, the output to read it from, its labels' names, its options."""

    def __init__(self, op, name, output, labels, options):
        self.op, self.name, self.output, self.labels, self.options = op, name, output, labels, options


class Graph:
    """The nodes of a symbol, as its JSON has them."""

    def __init__(self, symbol):
        graph = json.loads(symbol.tojson())
        self.nodes, self.entries = graph["nodes"], graph["heads"]
        self.outputs, self.arguments = symbol.list_outputs(), symbol.list_arguments()

    def heads(self):
        """Every output that is a loss."""
        found = [self._head(self.nodes[entry[0]], output) for entry, output in zip(self.entries, self.outputs)]
        return [head for head in found if head is not None]

    def label_names(self, heads):
        """The variables that the heads take for labels, in the order of the network's arguments."""
        used = {name for head in heads for name in head.labels or ()}
        return [name for name in self.arguments if name in used]

    def _head(self, node, output):
        name, op = node["name"], self._kind(node)
        if op in ("MakeLoss", "make_loss"):
            behind = self.nodes[node["inputs"][0][0]]
            if self._kind(behind) == "centerloss":
                op, node = "centerloss", behind  # which ignores the factor of MakeLoss
        if op == "MakeLoss":
            return HeadNode(op, name, output, None, _attributes(node))
        if op == "centerloss":
            options = {key: text for key, text in _attributes(node).items() if key in ("num_class", "scale")}
        elif op == "SoftmaxOutput":
            options = _attributes(node)
        else:
            return None
        return HeadNode(op, name, output, [self.nodes[node["inputs"][1][0]]["name"]], options)

    @staticmethod
    def _kind(node):
        return _attributes(node).get("op_type") if node["op"] == "Custom" else node["op"]


def _attributes(node):
    return {key: text for key, text in node.get("attrs", {}).items() if not key.startswith("__")}
