"""The loss behind each head: MXNet's heads send a gradient and never compute the number that it belongs to.

A head is an object with the attributes of its operator. From an output and its label, which `fitted` brings into one
layout, it computes two numbers, never to be mixed up:

- what is reported: `scale` times the sum of `losses` over the number of items, `count`. Ignored items are none.
- `value`: the number whose gradient the head sends, with the operator's normalization.

The tests take the numeric derivative of `value` with respect to the head's input.
"""
import mxnet as mx
import numpy as np

from .. import _check


class Head:
    """A head with the attributes of `options`, which may come as the text that a symbol keeps.

    Args:
        who: the metric, for error messages.
        reshaped: whether the output went through operators that changed its shape and not its order.
        given: attributes of the operator.
    """

    options = {}
    needs_label = True

    def __init__(self, who, reshaped=False, **given):
        self.who, self.reshaped = who, _check.flag(who, "reshaped", reshaped)
        _check.attributes(who, given, list(self.options), ())
        for name, default in self.options.items():
            setattr(self, name, _parsed(who, name, given.get(name, default), type(default)))

    @property
    def scale(self):
        """What the gradient is multiplied by."""
        return self.grad_scale

    def fitted(self, out, label):
        """Output and label in the layout of the other methods."""
        return out, label

    def check(self, out, label):
        """Refuse a label, on the host, that has no loss."""

    def misfits(self, out, label):
        """How many labels `check` would refuse, where the label is an array that the network made."""
        return 0

    def losses(self, out, label):
        """Loss of each item before any scale, zero where it is ignored; float64."""
        raise NotImplementedError

    def count(self, out, label):
        """Number of items."""
        return label.size

    def sums(self, out, label):
        """Sum of the losses and number of items."""
        return self.losses(out, label).sum(), self.count(out, label)

    def divisor(self, out, label):
        """What the gradient is divided by."""
        return 1

    def value(self, out, label):
        """The number whose gradient with respect to the head's input is what the head sends."""
        return self.scale * self.losses(out, label).sum() / self.divisor(out, label)


def _parsed(who, name, value, kind):
    if kind is str:
        return value
    if isinstance(value, str):
        return _check.attribute(who, name, value, kind)
    return {bool: _check.flag, int: _check.integer, float: _check.number}[kind](who, name, value)


class MakeLoss(Head):
    """Each element is the loss of an item; a single number is the mean of a batch, or with `batch_sum` its sum."""

    options = {"grad_scale": 1.0, "normalization": "null", "valid_thresh": 0.0, "batch_sum": False}
    needs_label = False

    def __init__(self, who, reshaped=False, **given):
        super().__init__(who, reshaped, **given)
        _check.choice(who, "normalization", self.normalization, ("null", "batch", "valid"))

    def losses(self, out, label):
        return out.astype("float64")

    def count(self, out, label):
        return out.size

    def sums(self, out, label):
        total, count = super().sums(out, label)
        if out.size > 1 or label is None or label.shape[0] == 1:
            return total, count
        return (total if self.batch_sum else total * label.shape[0]), label.shape[0]

    def divisor(self, out, label):
        if self.normalization == "batch":
            if self.reshaped:
                _check.fail(self.who, "normalization", "'null' or 'valid' where the output is reshaped: what 'batch'"
                            " divides by cannot be told", self.normalization)
            return int(np.prod(out.shape[:-1]))
        if self.normalization == "valid":
            return mx.nd.maximum((out > self.valid_thresh).astype("float64").sum(), 1)
        return 1


class PlainMakeLoss(MakeLoss):
    """The operator `make_loss`, which has no factor."""

    options = {"batch_sum": False}
    scale, normalization = 1.0, "null"


class CenterLoss(MakeLoss):
    """The operator `centerloss`: a batch mean, but the gradient is scale times that of the sum, whatever follows."""

    options = {"num_class": 0, "scale": 1.0}
    scale, normalization, batch_sum = None, "null", False  # `scale` is set from the options

    def check(self, out, label):
        if self.num_class:
            _check.classes(self.who, label, self.num_class)

    def value(self, out, label):
        total, _ = self.sums(out, label)
        return self.scale * total


class Classifier(Head):
    """What heads with a score for each class share: the layout (items, classes), or (batch, classes, positions)."""

    def fitted(self, out, label):
        positions = label.size // label.shape[0] if self.several else 1
        items = label.shape[0] if self.several else label.size
        if self.reshaped:
            if out.size % (items * positions):
                _check.fail(self.who, "label", "one for each item of an output {}".format(out.shape), label.shape)
        else:
            self.check_rank(out)
            kept = (out.shape[0], out.size // out.shape[0] // out.shape[1]) if self.several else (
                out.size // out.shape[-1], 1)
            if (items, positions) != kept:
                _check.fail(self.who, "label", "one for each item of an output {}".format(out.shape), label.shape)
        shape = (items, -1, positions) if self.several else (items, -1)
        return out.reshape(shape), label.reshape((items, positions) if self.several else (-1,))

    several = False

    def check_rank(self, out):
        _check.rank(self.who, "output", out.shape, 2, "(batch, classes)")

    def check(self, out, label):
        _check.classes(self.who, label, out.shape[1])

    def misfits(self, out, label):
        return (1 - (label >= 0) * (label < out.shape[1]) * (label == label.floor())).sum()


class SoftmaxOutput(Classifier):
    """Cross entropy between a softmax and the class of the label, or the probabilities that are the label."""

    options = {"grad_scale": 1.0, "normalization": "null", "use_ignore": False, "ignore_label": -1.0,
               "multi_output": False, "preserve_shape": False, "smooth_alpha": 0.0, "out_grad": False}

    def __init__(self, who, reshaped=False, **given):
        super().__init__(who, reshaped, **given)
        _check.choice(who, "normalization", self.normalization, ("null", "batch", "valid"))
        if self.out_grad:
            _check.fail(who, "out_grad", "False: with it the head sends the gradient of no number", True)

    @property
    def several(self):
        return self.multi_output

    def check_rank(self, out):
        if not self.multi_output and not self.preserve_shape and len(out.shape) != 2:
            _check.fail(self.who, "output", "(batch, classes): with more axes the head misreads its labels, unless"
                        " it has multi_output or preserve_shape", out.shape)

    def fitted(self, out, label):
        if label.shape != out.shape and not (self.reshaped and label.size == out.size):
            return super().fitted(out, label)
        shape = label.shape if self.reshaped else out.shape  # probabilities
        shape = (shape[0], shape[1], -1) if self.multi_output else (-1, shape[-1])
        return out.reshape(shape), label.reshape(shape)

    def check(self, out, label):
        if label.shape == out.shape:
            _check.probabilities(self.who, label, axis=1)
        else:
            _check.classes(self.who, label, out.shape[1], self.ignore_label if self.use_ignore else None)

    def misfits(self, out, label):
        if label.shape == out.shape:
            return ((label.astype("float64").sum(axis=1) - 1).abs() > 1e-2).sum()
        if self.use_ignore:
            label = mx.nd.where(self.kept(label), label, mx.nd.zeros_like(label))
        return super().misfits(out, label)

    def losses(self, out, label):
        # A probability that has been rounded to 0 would have an infinite loss.
        smallest = np.finfo(out.dtype).tiny
        if label.shape == out.shape:
            return -label.astype("float64") * mx.nd.maximum(out.astype("float64"), smallest).log()
        own = mx.nd.maximum(out.pick(label, axis=1).astype("float64"), smallest).log()
        if self.smooth_alpha and not self.multi_output:  # which ignores it
            other = self.smooth_alpha / (out.shape[1] - 1)
            each = mx.nd.maximum(out.astype("float64"), smallest).log()
            own = (1 - self.smooth_alpha - other) * own + other * each.sum(axis=1)
        return -own * self.kept(label) if self.use_ignore else -own

    def count(self, out, label):
        if label.shape == out.shape:
            return label.size // label.shape[1]
        return self.kept(label).sum() if self.use_ignore else label.size

    def kept(self, label):
        """1 for each label that is not `ignore_label`, else 0."""
        return (label != self.ignore_label).astype("float64")

    def divisor(self, out, label):
        if label.shape == out.shape:
            return 1
        if self.normalization == "valid":  # whatever use_ignore says
            return mx.nd.maximum(self.kept(label).sum(), 1)
        positions = label.shape[1] if self.multi_output else 1
        return positions * (label.shape[0] if self.normalization == "batch" else 1)


class SVMOutput(Classifier):
    """One-vs-rest hinge loss, squared unless `use_linear`."""

    options = {"margin": 1.0, "regularization_coefficient": 1.0, "use_linear": False}

    @property
    def scale(self):
        return self.regularization_coefficient

    def losses(self, out, label):
        sign = mx.nd.one_hot(label, out.shape[1], on_value=1, off_value=-1, dtype="float64")
        hinge = mx.nd.relu(self.margin - sign * out.astype("float64"))
        return (hinge if self.use_linear else hinge.square()).sum(axis=1)


class Regression(Head):
    """What the three regression heads share: each element is an item, and one sample's elements are averaged."""

    options = {"grad_scale": 1.0}

    def fitted(self, out, label):
        if label.size != out.size or not self.reshaped and label.shape[0] != out.shape[0]:
            _check.fail(self.who, "label", "one for each element of an output {}".format(out.shape), label.shape)
        return out.reshape(label.shape), label

    def divisor(self, out, label):
        return label.size // label.shape[0]


class LinearRegressionOutput(Regression):
    """Half the squared difference."""

    def losses(self, out, label):
        return (out.astype("float64") - label.astype("float64")).square() / 2


class MAERegressionOutput(Regression):
    """The absolute difference."""

    def losses(self, out, label):
        return (out.astype("float64") - label.astype("float64")).abs()


class LogisticRegressionOutput(Regression):
    """Cross entropy between a sigmoid and the label."""

    def losses(self, out, label):
        # Where the sigmoid has been rounded to 0 or 1, the loss is that of the nearest number it could have been.
        smallest, half_step = np.finfo(out.dtype).tiny, np.finfo(out.dtype).eps / 4
        yes, label = out.astype("float64"), label.astype("float64")
        return -(label * mx.nd.maximum(yes, smallest).log() + (1 - label) * mx.nd.maximum(1 - yes, half_step).log())


HEADS = {"SoftmaxOutput": SoftmaxOutput, "LinearRegressionOutput": LinearRegressionOutput,
         "LogisticRegressionOutput": LogisticRegressionOutput, "MAERegressionOutput": MAERegressionOutput,
         "SVMOutput": SVMOutput, "MakeLoss": MakeLoss, "make_loss": PlainMakeLoss, "centerloss": CenterLoss}
