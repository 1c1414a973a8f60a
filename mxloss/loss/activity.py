"""Activity regulariser."""
from mxnet import gluon

from .. import _check
from .penalty import add_penalty


def activity_penalty(activity, *, order=2):
    r"""Push the activities of a layer towards zero.

    .. math:: L_i = \frac1p \sum_k |h_{ik}|^p

    Args:
        activity: what a layer gives, ``(batch, ...)``, array or symbol.
        order: p, 1 (many activities become zero) or 2 (large ones become smaller).

    Returns:
        Penalty of each sample, ``(batch,)``, dtype of `activity`.

    Examples:
        >>> activity = mx.nd.array([[3., -4.], [0., 1.]])
        >>> activity_penalty(activity).asnumpy(), activity_penalty(activity, order=1).asnumpy()
        (array([12.5,  0.5], dtype=float32), array([7., 1.], dtype=float32))
    """
    activity = activity.reshape((0, -1))
    return activity.abs().sum(axis=1) if order == 1 else activity.square().sum(axis=1) / 2


class ActivityPenalty(gluon.HybridBlock):
    """Pass the input through, and add `activity_penalty` of it to the loss; see `WithPenalties`.

    Args:
        weight: factor of the penalty, at least 0.
        order: 1 or 2.
        name: what the penalty is called in reports.

    Examples:
        >>> net = mx.gluon.nn.HybridSequential()
        >>> net.add(mx.gluon.nn.Dense(8), mxloss.ActivityPenalty(weight=0.01), mx.gluon.nn.Dense(2))
        >>> net.initialize()
        >>> outputs, penalties = mxloss.WithPenalties(net)(mx.nd.ones((5, 3)))
        >>> penalties['activity'].shape
        (5,)
    """

    def __init__(self, *, weight=0.01, order=2, name="activity", prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self._weight = _check.number("ActivityPenalty", "weight", weight, 0)
        self._order = _check.choice("ActivityPenalty", "order", order, (1, 2))
        self._penalty = name

    def hybrid_forward(self, F, x):
        """The input; its penalty is added on the way."""
        add_penalty(self, self._penalty, activity_penalty(x, order=self._order) * self._weight)
        return x
