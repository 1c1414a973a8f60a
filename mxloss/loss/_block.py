"""What the blocks of all losses share: checks of arrays, the weights, and one number per sample."""
import functools
import inspect

import mxnet as mx
from mxnet import gluon

from .. import _check
from .schedule import PiecewiseLinear, ScheduledWeight, number_or_schedule


class LossBlock(gluon.loss.Loss):
    """A loss with one number per sample, ``(batch,)``, whose gradient is that of their sum; the optimizer divides.

    It takes arrays or symbols. Arrays are checked before anything is computed; inside a graph, where Python sees none,
    a label that is no class is caught by `mxloss.functional.guarded_label`, before anything is trained on it.

    Args:
        weight: what the loss and its gradient are multiplied by, at least 0: a number, or a schedule
            (`mxloss.WarmUp`, `mxloss.PiecewiseLinear`) for one that changes with the optimizer's steps.
        prefix, params: as for every Gluon block.
    """

    inputs = ("pred", "label", "sample_weight")  # what the block is called with, in order

    def __init__(self, *, weight=1.0, prefix=None, params=None):
        weight = number_or_schedule(type(self).__name__, "weight", weight, 0)
        super().__init__(weight, 0, prefix=prefix, params=params)
        self._scheduled = None
        if isinstance(weight, PiecewiseLinear):
            self._scheduled = ScheduledWeight(weight, prefix=self.prefix + "weight_",
                                              params=self.params if params is None else params)

    def __call__(self, *inputs, **named):
        """The losses of `inputs`, given in the order of the class's `inputs` or by name."""
        rest = self.inputs[len(inputs):]
        _check.names(type(self).__name__, "inputs", list(named), rest)
        inputs += tuple(named.get(name) for name in rest)
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        for name in _needed(type(self))[len(inputs):]:
            _check.fail(type(self).__name__, name, "given", None, TypeError)
        return super().__call__(*inputs)

    def forward(self, *inputs):
        """The losses of arrays, checked, or of symbols."""
        who = type(self).__name__
        for name, value in zip(self.inputs, inputs):
            _check.array(who, name, value)
        if not any(isinstance(value, mx.sym.Symbol) for value in inputs):
            self._check_arrays(who, *inputs)
        return super().forward(*inputs)

    def _check_arrays(self, who, *inputs):
        """Refuse arrays that do not fit together."""
        raise NotImplementedError

    def _mean(self, F, loss, sample_weight=None):
        """Items ``(batch, ...)`` to samples ``(batch,)``: weighted, and averaged over all axes but the first."""
        loss = F.reshape(loss, shape=(0, -1))
        if sample_weight is not None:
            # Along the items only: broadcast_mul would take the weight of one sample for that of all.
            item = F.zeros_like(F.BlockGrad(F.slice_axis(loss, axis=0, begin=0, end=1)))
            loss = loss * F.broadcast_add(F.reshape(sample_weight, shape=(0, -1)), item)
        return self._weighted(F.mean(loss, axis=1))

    def _sum(self, F, loss, sample_weight=None):
        """Like `_mean`, but added up over all axes but the first."""
        loss = F.sum(F.reshape(loss, shape=(0, -1)), axis=1)
        if sample_weight is not None:
            loss = loss * sample_weight
        return self._weighted(loss)

    def _weighted(self, loss):
        """Losses times the weight, by number or by schedule."""
        return loss * self._weight if self._scheduled is None else self._scheduled(loss)


@functools.lru_cache(maxsize=None)
def _needed(kind):
    """The inputs that a loss cannot do without."""
    parameters = list(inspect.signature(kind.hybrid_forward).parameters.values())[2:]
    return [parameter.name for parameter in parameters
            if parameter.kind == parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty]


def ignored(who, ignore_label):
    """`ignore_label`, a whole number or None, and the labels that are allowed beside the classes on its account."""
    if ignore_label is None:
        return None, ()
    ignore_label = _check.integer(who, "ignore_label", ignore_label)
    return ignore_label, (ignore_label,)


def check_classes(who, label, shape, num_class, ignore_label=None):
    """`label` has to be of `shape`, each entry a class or `ignore_label`; on the host, where the error can name it."""
    _check.shape(who, "label", label.shape, shape)
    _check.class_type(who, num_class, label.dtype)
    _check.classes(who, label.asnumpy(), num_class, ignore_label)


def check_sample_weight(who, sample_weight, dtype, *shapes):
    """`sample_weight`, if there is one, has to be of `dtype` and of one of `shapes`."""
    if sample_weight is not None:
        _check.dtype(who, "sample_weight", sample_weight.dtype, dtype)
        _check.shape(who, "sample_weight", sample_weight.shape, *shapes)


def check_same(who, pred, name, value):
    """`value` has to have the shape and dtype of `pred`."""
    _check.dtype(who, name, value.dtype, pred.dtype)
    _check.shape(who, name, value.shape, pred.shape)
