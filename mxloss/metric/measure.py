"""Measures that are no losses: how often the network is right."""
from .base import Metric, register
from .head import HEADS


@register
class Accuracy(Metric):
    r"""Count how often the largest of the class scores is the label's, over the items that are not ignored.

    Args:
        name: what to call it.
        output_names: the one output of class scores, as a list.
        label_names: the one label that belongs to it, as a list.
        options: attributes of the SoftmaxOutput that the scores come from; see `Metric` for the rest.

    Examples:
        >>> accuracy = Accuracy()
        >>> accuracy.update(mx.nd.array([1, 0]), mx.nd.array([[.2, .8], [.4, .6]]))
        >>> accuracy.get()
        ('accuracy', 0.5)
    """

    def __init__(self, name="accuracy", output_names=None, label_names=None, *, nan="raise", wait_every=16, **options):
        self.head = HEADS["SoftmaxOutput"](name, **options)
        super().__init__(name, output_names, label_names, nan=nan, wait_every=wait_every, **options)

    def state(self, labels, preds):
        (out,) = preds
        label = self.checked_label(self.head, labels, out)
        return [(out.argmax(axis=1) == label.astype("float32")).sum(), self.head.count(out, label)]

    def read(self, sums):
        right, count = sums
        return float(right / count) if count else float("nan")
