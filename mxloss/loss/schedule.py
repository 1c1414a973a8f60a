"""Weights of losses that follow a schedule: a warm-up, or any line with corners.

Usage::

    center = mxloss.CenterLoss(10, 2, weight=mxloss.WarmUp(0.01, steps=500))                    # any loss of mxloss
    losses = mxloss.LossGroup({'softmax': softmax, 'center': center}, weights={'softmax': mxloss.WarmUp(1, 100, 0.5)})
    head = mx.sym.MakeLoss(mxloss.Weighted(mxloss.WarmUp(0.1, steps=500))(loss), name='mine')   # any symbol

The weight is a parameter, which `Module.update` and `Trainer.step` move on (`mxloss.optimizer.schedule`): so it is
saved and resumed with the others, and the same on all devices and workers.
"""
import contextlib
import json
import warnings

import mxnet as mx
from mxnet import autograd, gluon

from .. import _check
from ..functional import as_auxiliary

#: What marks a variable of a symbol, saved or not, as a scheduled weight: a JSON text with the corners of its schedule.
MARK = "__loss_weight_schedule__"


class PiecewiseLinear:
    """A weight for each step of the optimizer: straight lines between corners, constant before and after them.

    Args:
        corners: pairs (step, weight); steps are whole numbers from 0 that rise, weights at least 0.

    Examples:
        >>> schedule = PiecewiseLinear([(0, 0), (100, 0.5), (300, 0.5), (400, 0)])
        >>> [schedule(step) for step in (0, 50, 200, 350, 1000)]
        [0.0, 0.25, 0.5, 0.25, 0.0]
    """

    def __init__(self, corners):
        who = type(self).__name__
        if not isinstance(corners, (list, tuple)) or not corners:
            _check.fail(who, "corners", "a list of at least one pair (step, weight)", corners, TypeError)
        self.corners = []
        for corner in corners:
            if not isinstance(corner, (list, tuple)) or len(corner) != 2:
                _check.fail(who, "corners", "pairs (step, weight)", corner, TypeError)
            step = _check.integer(who, "step", corner[0], low=0)
            if self.corners and step <= self.corners[-1][0]:
                _check.fail(who, "step", "greater than that of the corner before, {}".format(self.corners[-1][0]), step)
            self.corners.append((step, _check.number(who, "weight", corner[1], 0)))

    def __call__(self, step):
        """The weight after so many steps."""
        before = self.corners[0]
        for corner in self.corners:
            if step < corner[0]:
                share = max(0, step - before[0]) / max(1, corner[0] - before[0])
                return before[1] + share * (corner[1] - before[1])
            before = corner
        return before[1]

    def __repr__(self):
        return "PiecewiseLinear({})".format(self.corners)


class WarmUp(PiecewiseLinear):
    """A weight that rises along a line in the first steps of the optimizer, and then stays.

    Args:
        weight: what it comes to, at least 0.
        steps: how many steps that takes, at least 1.
        begin: what it starts from, at least 0.

    Examples:
        >>> schedule = WarmUp(0.01, steps=100)
        >>> [schedule(step) for step in (0, 50, 100, 200)]
        [0.0, 0.005, 0.01, 0.01]
    """

    def __init__(self, weight, steps, begin=0.0):
        weight, begin = _check.number("WarmUp", "weight", weight, 0), _check.number("WarmUp", "begin", begin, 0)
        super().__init__([(0, begin), (_check.integer("WarmUp", "steps", steps, low=1), weight)])


class ScheduledWeight(gluon.Parameter):
    """A weight and the steps after which it is that, ``(2,)``; the training step moves it on, no gradient does."""

    @classmethod
    def mark(cls, parameter, schedule):
        """Turn a plain Parameter into a scheduled weight."""
        parameter.__class__ = cls
        parameter.schedule, parameter._step, parameter._var = schedule, None, None
        return parameter

    def var(self):
        if self._var is None:
            self._var = mx.sym.var(self.name, shape=self.shape, dtype=self.dtype, init=self.init,
                                   attr={MARK: json.dumps(self.schedule.corners)})
        return self._var

    def set_data(self, data):
        self._step = None
        super().set_data(data)

    def _load_init(self, *arguments, **keywords):
        self._step = None  # it is that of what is loaded
        super()._load_init(*arguments, **keywords)

    @property
    def now(self):
        """The weight of the next batch."""
        return self.schedule(self._steps()) if self._data is not None else self.schedule(0)

    def advance(self):
        """Go on by a step, on all devices; nothing is waited for, but at the first step."""
        self._step = self._steps() + 1
        for array in self.list_data():  # set_data would make the Trainer forget its optimizer's states
            value(self.schedule, self._step).copyto(array)

    def _steps(self):
        if self._step is None:
            self._step = int(self.list_data()[0].asnumpy()[1])
        return self._step


def value(schedule, step):
    """What a scheduled weight holds after so many steps."""
    return mx.nd.array([schedule(step), step])


class Weighted(gluon.HybridBlock):
    """Multiply a loss by a weight that follows a schedule.

    The weight is that of the step, the same for value and gradient, on all devices; evaluation does not move it on. In
    Gluon its parameter has to be among those of the Trainer: ``{**net.collect_params(), **loss.collect_params()}``.

    Args:
        schedule: `PiecewiseLinear` or `WarmUp`.
        dtype: of the weighted loss in a graph, where nobody knows that of the loss: 'float32' or 'float64'.

    Inputs:
        - **loss**: array or symbol of any shape.

    Outputs:
        - **weighted loss** in the same shape; that of an array in its type.

    Raises:
        ValueError: it computes a loss to learn from, and no Trainer has its parameter.

    Examples:
        >>> weighted = Weighted(WarmUp(1, steps=4, begin=0.5))
        >>> weighted.initialize()
        >>> trainer = mx.gluon.Trainer(weighted.collect_params(), 'sgd')
        >>> for step in range(3):
        ...     print(weighted(mx.nd.array([8])).asnumpy())
        ...     trainer.step(1)
        [4.]
        [5.]
        [6.]
    """

    def __init__(self, schedule, *, dtype="float32", prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        if not isinstance(schedule, PiecewiseLinear):
            _check.fail("Weighted", "schedule", "a PiecewiseLinear or WarmUp", schedule, TypeError)
        self._dtype = _check.choice("Weighted", "dtype", dtype, ("float32", "float64"))
        self.scheduled_weight = ScheduledWeight.mark(self.params.get(
            "scheduled_weight", shape=(2,), grad_req="null", differentiable=False,
            init=mx.init.Constant(value(schedule, 0))), schedule)

    @property
    def now(self):
        """The weight of the next batch."""
        return self.scheduled_weight.now

    def hybridize(self, active=True, **options):
        """Nothing: as a graph of its own it would not know the type of the loss."""

    def cast(self, dtype):
        """Nothing: the weight stays as exact as it is."""

    def forward(self, loss):
        """The weighted loss; see the class."""
        if isinstance(loss, mx.nd.NDArray) and autograd.is_training() and self.scheduled_weight._trainer is None:
            _check.fail(self.name, "weight", "among the parameters of the Trainer, which moves it on: "
                        "{**net.collect_params(), **loss.collect_params()}", "a Trainer without it, or none")
        return super().forward(loss)

    def hybrid_forward(self, F, loss, *, scheduled_weight):
        """The weighted loss."""
        if F is mx.sym:
            loss = F.cast(loss, dtype=self._dtype)
        weight = F.slice_axis(as_auxiliary(F, scheduled_weight, 2), axis=0, begin=0, end=1)
        weight = F.cast(weight, dtype=self._dtype if F is mx.sym else loss.dtype)
        return F.reshape_like(F.broadcast_mul(F.reshape(loss, shape=(-1,)), weight), loss)


def split(who, weight, block, dtype="float32"):
    """A weight that a loss is given: a number, and a `Weighted` block or None.

    Args:
        who: on whose behalf errors are told.
        weight: number at least 0, or a schedule.
        block: the loss, whose prefix the parameter has.
        dtype: of the loss in a graph.
    """
    if isinstance(weight, PiecewiseLinear):
        return 1.0, Weighted(weight, dtype=dtype, prefix=block.prefix)
    return _check.number(who, "weight", weight, 0), None


@contextlib.contextmanager
def without_warning():
    """Let a hybridized loss have a scheduled weight that is no part of its graph, but of what comes behind it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Parameter .*scheduled_weight is not used by any computation")
        yield
