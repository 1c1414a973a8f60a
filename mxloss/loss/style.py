"""Style loss on gram matrices (Gatys, Ecker and Bethge, 2016)."""
from .. import _check
from ..functional import backend
from ._block import LossBlock, check_sample_weight


def gram_matrix(feature):
    r"""Keep which channels fire together and forget where.

    .. math:: G_{ij} = \frac1M \sum_k F_{ik} F_{jk}, \quad M \text{ positions}

    Divided by the number of positions, so that pictures of different sizes compare.

    Args:
        feature: ``(batch, channel, height, width)`` or any other axes behind the channels, array or symbol.

    Returns:
        ``(batch, channel, channel)``, dtype of `feature`.

    Examples:
        >>> gram_matrix(mx.nd.array([[[[1., 3.]], [[2., 0.]]]])).asnumpy().round(4)
        array([[[5., 1.], [1., 2.]]], dtype=float32)

    References:
        Gatys, Ecker and Bethge, Image Style Transfer Using Convolutional Neural Networks, CVPR 2016, eq. 3.
    """
    F = backend(feature)
    feature = F.contrib.div_sqrt_dim(F.reshape(feature, shape=(0, 0, -1)))
    return F.batch_dot(feature, feature, transpose_b=True)


def style_loss(feature, gram):
    r"""Pull the channels of a feature to fire together as those of a style picture do.

    .. math:: L = \frac1{4 N^2} \sum_{ij} (G_{ij} - A_{ij})^2, \quad N \text{ channels}

    Args:
        feature: ``(batch, channel, height, width)``, array or symbol.
        gram: A, `gram_matrix` of the style picture's feature, ``(batch or 1, channel, channel)``.

    Returns:
        Loss of each sample, ``(batch,)``, dtype of `feature`.

    Examples:
        >>> style_loss(mx.nd.array([[[[1., 3.]], [[2., 0.]]]]), mx.nd.zeros((1, 2, 2))).asnumpy().round(4)
        array([1.9375], dtype=float32)

    References:
        Gatys, Ecker and Bethge, Image Style Transfer Using Convolutional Neural Networks, CVPR 2016, eq. 4.
    """
    F = backend(feature)
    return F.mean(F.square(F.broadcast_sub(gram_matrix(feature), gram)), axis=(1, 2)) / 4


class StyleLoss(LossBlock):
    """`style_loss` of each sample, ``(batch,)``, called with ``(feature, gram, sample_weight)``.

    Args:
        weight: what the loss and its gradient are multiplied by, at least 0.

    Examples:
        >>> feature = mx.nd.array([[[[1., 3.]], [[2., 0.]]]])
        >>> StyleLoss(weight=4)(feature, mxloss.gram_matrix(feature + 1)).asnumpy().round(3)
        array([16.5], dtype=float32)
    """

    inputs = ("feature", "gram", "sample_weight")

    def _check_arrays(self, who, feature, gram, sample_weight=None):
        if feature.ndim < 3:
            _check.fail(who, "feature", "(batch, channel, height, width)", feature.shape)
        if feature.context.device_type == "cpu":  # MXNet's batch_dot has no float16 there
            _check.dtype(who, "feature", feature.dtype, "float32", "float64")
        batch, channel = feature.shape[:2]
        _check.dtype(who, "gram", gram.dtype, feature.dtype)
        _check.shape(who, "gram", gram.shape, (batch, channel, channel), (1, channel, channel))
        check_sample_weight(who, sample_weight, feature.dtype, (batch,))

    def hybrid_forward(self, F, feature, gram, sample_weight=None):
        """Losses ``(batch,)``."""
        return self._sum(F, style_loss(feature, gram), sample_weight)
