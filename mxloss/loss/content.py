"""Content loss on the features of a network (Gatys, Ecker and Bethge, 2016)."""
from ..functional import backend
from ._block import LossBlock, check_same, check_sample_weight


def content_loss(feature, label):
    r"""Pull a feature to that of the content picture, position by position.

    .. math:: L = \tfrac12 \sum_{ij} (F_{ij} - P_{ij})^2

    Args:
        feature: ``(batch, ...)``, array or symbol.
        label: P, the feature of the content picture, in the shape of `feature`.

    Returns:
        Loss of each sample, ``(batch,)``, dtype of `feature`.

    Examples:
        >>> content_loss(mx.nd.array([[1., 2.], [0., 3.]]), mx.nd.array([[0., 0.], [0., 1.]])).asnumpy()
        array([2.5, 2. ], dtype=float32)

    References:
        Gatys, Ecker and Bethge, Image Style Transfer Using Convolutional Neural Networks, CVPR 2016, eq. 1.
    """
    F = backend(feature)
    return F.sum(F.square(F.reshape(feature - label, shape=(0, -1))), axis=1) / 2


class ContentLoss(LossBlock):
    """`content_loss` of each sample, ``(batch,)``, called with ``(feature, label, sample_weight)``.

    Args:
        weight: what the loss and its gradient are multiplied by, at least 0.

    Examples:
        >>> ContentLoss(weight=0.1)(mx.nd.array([[1., 2.]]), mx.nd.zeros((1, 2))).asnumpy()
        array([0.25], dtype=float32)
    """

    inputs = ("feature", "label", "sample_weight")

    def _check_arrays(self, who, feature, label, sample_weight=None):
        check_same(who, feature, "label", label)
        check_sample_weight(who, sample_weight, feature.dtype, feature.shape[:1])

    def hybrid_forward(self, F, feature, label, sample_weight=None):
        """Losses ``(batch,)``."""
        return self._sum(F, content_loss(feature, label), sample_weight)
