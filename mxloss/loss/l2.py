"""Weight decay as a penalty."""
import mxnet as mx
from mxnet import gluon

from .. import _check
from .penalty import add_penalty


def l2_penalty(parameters, multipliers):
    r"""Push parameters towards zero, as the weight decay of MXNet's optimizers does.

    .. math:: L = \tfrac12 \sum_p m_p \lVert w_p \rVert^2

    Args:
        parameters: list of arrays or symbols of any shape.
        multipliers: the `wd_mult` of each.

    Returns:
        One number in float32, ``(1,)``.

    Examples:
        >>> l2_penalty([mx.nd.array([3., 4.]), mx.nd.array([[2.]])], [1.0, 0.5]).asnumpy()
        array([13.5], dtype=float32)
    """
    total = 0
    for parameter, multiplier in zip(parameters, multipliers):
        total = total + parameter.astype("float32").square().sum() * (multiplier / 2)
    return total.reshape((1,))


class L2Penalty(gluon.HybridBlock):
    r"""Pass the input through, and add wd times `l2_penalty` of some parameters to the loss of each sample.

    A step divides by the number of samples: so the penalty, which each sample pays, moves the parameters as `wd` of the
    optimizer does with stochastic gradient descent. (Adaptive optimizers scale the one and the other differently.)

    Args:
        parameters: what `collect_params` gives, or any dict of parameters by name. Those without a gradient, or with
            `wd_mult` 0, pay nothing.
        wd: the weight decay, at least 0.
        name: what the penalty is called in reports.

    Examples:
        >>> net = mx.gluon.nn.HybridSequential()
        >>> net.add(mx.gluon.nn.Dense(2, in_units=2))
        >>> net.add(mxloss.L2Penalty(net.collect_params('.*weight'), wd=0.5))
        >>> net.initialize(mx.init.One())
        >>> outputs, penalties = mxloss.WithPenalties(net)(mx.nd.ones((3, 2)))
        >>> penalties['l2'].asnumpy()
        array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, parameters, *, wd, name="l2", prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        if not isinstance(parameters, (dict, gluon.ParameterDict)) or not parameters.keys():
            _check.fail("L2Penalty", "parameters", "a dict of at least one parameter", parameters, TypeError)
        self._wd = _check.number("L2Penalty", "wd", wd, 0)
        self._penalty = name
        self.params.update(parameters)  # they stay the network's: shared, not copied

    def hybrid_forward(self, F, x):
        """The input; the penalty of the parameters is added on the way."""
        decayed = [parameter for parameter in self.params.values() if parameter.grad_req != "null"]
        arrays = [parameter.var() if F is mx.sym else parameter.data(x.context) for parameter in decayed]
        penalty = l2_penalty(arrays, [parameter.wd_mult for parameter in decayed]) * self._wd
        samples = F.ones_like(x.reshape((0, -1)).slice_axis(axis=1, begin=0, end=1).astype("float32")).reshape((-1,))
        add_penalty(self, self._penalty, F.broadcast_mul(samples, penalty))
        return x
