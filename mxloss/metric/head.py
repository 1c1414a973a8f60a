"""The loss behind each head: MXNet's heads send a gradient and never compute the number that it belongs to.

A head is an object with the operator's own attributes. From an output and its label, `losses` gives the loss of each
item, zero where the item is ignored, and `count` the number of items. `scale` is what the gradient is multiplied by.
"""
import mxnet as mx
import numpy as np

from .. import _check


class Head:
    """A head with the attributes of `options`, which may come as the text that a symbol keeps."""

    options = {}
    needs_label = True

    def __init__(self, who, **given):
        self.who = who
        _check.attributes(who, given, list(self.options), ())
        for name, default in self.options.items():
            setattr(self, name, _parsed(who, name, given.get(name, default), type(default)))

    @property
    def scale(self):
        """What the gradient is multiplied by."""
        return self.grad_scale

    def check(self, out, label):
        """Refuse a label, as a NumPy array, that does not fit `out`."""

    def sums(self, out, label):
        """Sum of the items' losses before any scale, and number of items."""
        return self.losses(out, label).sum(), self.count(out, label)


def _parsed(who, name, value, kind):
    if isinstance(value, str) and kind is not str:
        return _check.attribute(who, name, value, kind)
    if kind is str:
        return value
    check = {bool: _check.flag, int: _check.integer, float: _check.number}[kind]
    return check(who, name, value)


class MakeLoss(Head):
    """Each element is the loss of an item; a single number is the mean over a batch of labels."""

    options = {"grad_scale": 1.0}
    needs_label = False

    def losses(self, out, label):
        return out.astype("float64")

    def count(self, out, label):
        return out.size

    def sums(self, out, label):
        total, count = super().sums(out, label)
        labels = label.shape[0] if out.size == 1 and label is not None else 1
        return total * labels, count * labels


class CenterLoss(MakeLoss):
    """The operator `centerloss`, a batch mean, whose gradient has its own scale whatever stands behind it."""

    options = {"num_class": 0, "scale": 1.0}
    scale = None  # an attribute of the operator

    def check(self, out, label):
        if self.num_class:
            _check.classes(self.who, label, self.num_class)


class SoftmaxOutput(Head):
    """Cross entropy between a softmax and the class of the label."""

    options = {"grad_scale": 1.0}

    def check(self, out, label):
        _check.rank(self.who, "output", out.shape, 2, "(batch, classes)")
        _check.shape(self.who, "label", label.shape, out.shape[:1])
        _check.classes(self.who, label, out.shape[1])

    def losses(self, out, label):
        # A probability that float32 rounds to 0 would have an infinite loss.
        return -mx.nd.maximum(out.pick(label, axis=1).astype("float64"), np.finfo(out.dtype).tiny).log()

    def count(self, out, label):
        return label.size


HEADS = {"SoftmaxOutput": SoftmaxOutput, "MakeLoss": MakeLoss, "centerloss": CenterLoss}
