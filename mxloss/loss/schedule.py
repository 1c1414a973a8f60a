"""Weights of losses that change with the optimizer's steps: warm-up and anything else that is piecewise linear.

Usage::

    warm_up = mxloss.WarmUp(0.01, steps=1000)                          # from 0 to 0.01, and 0.01 from then on
    center = mxloss.CenterLoss(num_class=10, feature_size=2, weight=warm_up)         # as weight of any loss block
    losses = mxloss.LossGroup({...}, weights={'style': mxloss.PiecewiseLinear([(0, 1), (500, 1), (900, 0)])})
    head = mx.sym.MakeLoss(mxloss.ScheduledWeight(warm_up)(any_loss))                # for any other loss, too

How many steps were taken is an auxiliary state of the network, ``<prefix>step``, and the weight is computed from it
inside the graph. So a saved symbol has its schedule, a saved set of parameters its place in it, and what a head
reports is what was optimised. `mxloss.optimizer` counts, in each `Module.update` and `Trainer.step`.
"""
import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from .. import _check
from ..functional import auxiliary

#: What marks a variable of a symbol, saved or not, as the number of the optimizer's steps.
MARK = "__optimizer_step__"


def piecewise_linear(step, points):
    r"""Draw straight lines from point to point, and go on level before the first and behind the last.

    .. math:: w(t) = \sum_k w_k (p_k - p_{k+1}), \quad
              p_k = \min\Big(1, \max\Big(0, \frac{t - t_{k-1}}{t_k - t_{k-1}}\Big)\Big), \quad p_0 = 1, \; p_{n+1} = 0

    Args:
        step: the place t, a number, or an array or symbol of any shape.
        points: pairs of t_k, which increase, and w_k.

    Returns:
        Of the kind of `step`; exactly w_k at t_k.

    Examples:
        >>> [piecewise_linear(step, [(0, 1.0), (4, 3.0), (6, 0.0)]) for step in (0, 1, 4, 5, 6, 100)]
        [1.0, 1.5, 3.0, 1.5, 0.0, 0.0]
    """
    (begin, weight), *rest = points
    total, passed = 0 * step, 1.0
    for end, next_weight in rest:
        progress = _between_0_and_1((step - begin) / (end - begin))
        total = total + weight * (passed - progress)
        begin, weight, passed = end, next_weight, progress
    return total + weight * passed


def _between_0_and_1(value):
    if isinstance(value, (mx.nd.NDArray, mx.sym.Symbol)):
        return value.clip(0, 1)
    return min(max(value, 0.0), 1.0)


class PiecewiseLinear:
    """A weight by schedule, which is `piecewise_linear` in the number of optimizer steps that were taken so far.

    Args:
        points: pairs of a step, a whole number of at least 0 and higher than the one before, and the weight there. A
            jump is two points a step apart.

    Raises:
        ValueError: no points, steps that do not increase, a weight that is not finite.

    Examples:
        >>> schedule = PiecewiseLinear([(0, 0.0), (1000, 0.01), (5000, 0.0)])
        >>> schedule(500), schedule(1000), schedule(9999)
        (0.005, 0.01, 0.0)
        >>> loss = mxloss.SoftmaxLoss(weight=schedule)
    """

    def __init__(self, points):
        self.points = _checked(type(self).__name__, points)

    def __call__(self, step):
        """The weight after `step` steps, which is that of the step to come; the first has 0."""
        return piecewise_linear(step, self.points)

    def __eq__(self, other):
        return isinstance(other, PiecewiseLinear) and self.points == other.points

    def __hash__(self):
        return hash(self.points)

    def __repr__(self):
        return "PiecewiseLinear({})".format(list(self.points))


class WarmUp(PiecewiseLinear):
    """A weight that rises, or falls, in equal parts from `begin` to `weight` and then stays.

    Args:
        weight: where it ends.
        steps: after how many steps of the optimizer it is there, at least 1.
        begin: the weight of the first step.

    Examples:
        >>> warm_up = WarmUp(0.5, steps=10)
        >>> [warm_up(step) for step in (0, 1, 5, 10, 11)]
        [0.0, 0.05, 0.25, 0.5, 0.5]
    """

    def __init__(self, weight, steps, *, begin=0.0):
        super().__init__([(0, _check.number("WarmUp", "begin", begin)),
                          (_check.integer("WarmUp", "steps", steps, low=1), _check.number("WarmUp", "weight", weight))])

    def __repr__(self):
        (_, begin), (steps, weight) = self.points
        return "WarmUp({}, steps={}, begin={})".format(weight, steps, begin)


def _checked(who, points):
    """`points` as a tuple of pairs of int and float."""
    allowed = "a list of at least one pair of a step and the weight there"
    if not isinstance(points, (list, tuple)):
        _check.fail(who, "points", allowed, points, TypeError)
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            _check.fail(who, "points", allowed, point, TypeError)
    if not points:
        _check.fail(who, "points", allowed, points)
    checked = tuple((_check.integer(who, "step", step, low=0), _check.number(who, "weight at step {}".format(step),
                                                                            weight)) for step, weight in points)
    for (before, _), (step, _) in zip(checked, checked[1:]):
        if step <= before:
            _check.fail(who, "points", "of steps that increase", step, where=" behind {}".format(before))
    return checked


def number_or_schedule(who, name, weight, low=None):
    """`weight` as a float or a schedule, at no time below `low`."""
    if callable(weight) and not isinstance(weight, PiecewiseLinear):
        _check.fail(who, name, "a number or a schedule", weight, TypeError)
    if not isinstance(weight, PiecewiseLinear):
        return _check.number(who, name, weight, low)
    if low is not None and min(value for _, value in weight.points) < low:
        _check.fail(who, name, "a schedule of weights >= {}".format(low), weight)
    return weight


class StepParameter(gluon.Parameter):
    """How many steps an optimizer has taken, as the Trainer knows it apart from other parameters."""

    @classmethod
    def mark(cls, parameter):
        """Turn a plain Parameter into one that is counted up."""
        parameter.__class__ = cls
        parameter._var = None
        return parameter

    def var(self):
        if self._var is None:
            self._var = mx.sym.var(self.name, shape=self.shape, dtype=self.dtype, init=self.init, attr={MARK: "1"})
        return self._var

    def data(self, ctx=None):
        """The count on one device. Each pass in Gluon asks for it, hybridized or not."""
        if self._trainer is None and autograd.is_recording() and autograd.is_training():
            _check.fail("ScheduledWeight", self.name, "among the parameters of the Trainer, {**net.collect_params(), "
                        "**loss.collect_params()}, which counts its steps", "no Trainer")
        return super().data(ctx)

    def cast(self, dtype):
        """Nothing: steps are counted in float64, whatever the network computes in."""


class ScheduledWeight(gluon.HybridBlock):
    r"""Multiply any loss by a weight that changes with the optimizer's steps.

    .. math:: w(t) \cdot L, \quad t \text{ steps taken so far}

    Every loss block has it inside when its `weight` is a schedule, and a `LossGroup` for the schedules among its
    `weights`. By itself it is for all other losses: ``MakeLoss(ScheduledWeight(schedule)(loss))`` in a symbol. Heads
    like `SoftmaxOutput` take no notice of what stands above them; `SoftmaxLoss` does.

    The parameter ``<prefix>step``, ``(1,)``, has no gradient; no optimizer or kvstore touches it. It is counted up on
    every device by each `Module.update`, or each step of the Trainer that has it, and never in evaluation. It is saved
    with the parameters, so a training that is resumed goes on where it was; to begin again, leave it out.

    Args:
        schedule: a `WarmUp` or `PiecewiseLinear`.

    Inputs:
        - **loss**: an array or symbol of any shape.

    Outputs:
        - in the shape and dtype of the loss, but float32 for float16.

    Raises:
        ValueError: in a training pass of Gluon, when no Trainer has the parameter.

    Examples:
        >>> loss = mx.sym.square(mx.sym.FullyConnected(mx.sym.var('data'), num_hidden=1, no_bias=True, name='fc'))
        >>> net = mx.sym.MakeLoss(ScheduledWeight(WarmUp(1.0, steps=4))(loss), name='loss')
        >>> module = mx.mod.Module(net, label_names=None)
        >>> module.bind([('data', (1, 1))])
        >>> module.init_params(mx.init.One())
        >>> module.init_optimizer(optimizer_params={'learning_rate': 0})
        >>> for _ in range(3):
        ...     values = mxloss.train_minibatch(module, mx.io.DataBatch([mx.nd.array([[2]])]), 'loss')
        ...     print(values['loss'].asnumpy().item())
        0.0
        1.0
        2.0
    """

    def __init__(self, schedule, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        if not isinstance(schedule, PiecewiseLinear):
            _check.fail("ScheduledWeight", "schedule", "a WarmUp or a PiecewiseLinear", schedule, TypeError)
        self.schedule = schedule
        self.step = StepParameter.mark(self.params.get("step", shape=(1,), dtype="float64", grad_req="null",
                                                       differentiable=False, init=mx.init.Zero()))

    def set_schedule(self, schedule):
        """Follow another `schedule`, by the steps that were counted so far."""
        self.schedule = schedule
        self._clear_cached_op()

    @property
    def weight(self):
        """The weight of the step to come, by the block's own parameter; waits for the steps before."""
        return self.schedule(float(self.step.list_data()[0].asscalar()) if self.step._data else 0.0)

    def hybrid_forward(self, F, loss, step):
        """The loss times its weight."""
        weight = self.schedule(F.BlockGrad(auxiliary(step, "float64")))
        if F is mx.nd:
            dtype = np.promote_types(loss.dtype, "float32")
            return F.broadcast_mul(F.cast(loss, dtype=dtype), F.cast(weight, dtype=dtype))
        # A graph does not know of which type the loss is. MXNet's NumPy operators find the wider of two types, for
        # which the weight is cut in two parts of float32 that are float64 together.
        high = F.cast(weight, dtype="float32")
        low = F.cast(weight - F.cast(high, dtype="float64"), dtype="float32")
        zero = F.zeros_like(F.slice_axis(F.reshape(F.BlockGrad(loss), shape=(-1,)), axis=0, begin=0, end=1))
        weight = F.BlockGrad(_wider(F.np.add, _wider(F.np.add, zero, high), low))
        return _wider(F.np.multiply, loss, weight)


def _wider(operator, a, b):
    return operator(a.as_np_ndarray(), b.as_np_ndarray()).as_nd_ndarray()
