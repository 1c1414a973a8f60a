"""Total variation of pictures (Mahendran and Vedaldi, 2015)."""
from .. import _check
from ..functional import backend
from ._block import LossBlock, check_sample_weight


def total_variation_loss(image):
    r"""Smooth a picture: pull each pixel to its neighbours to the right and below.

    .. math:: L = \sum_{ij} (x_{i,j+1} - x_{ij})^2 + (x_{i+1,j} - x_{ij})^2

    A pixel at the border has a neighbour less, and the gradient knows it.

    Args:
        image: ``(batch, channel, height, width)``, two pixels or more each way, array or symbol.

    Returns:
        Loss of each sample, ``(batch,)``, dtype of `image`.

    Examples:
        >>> total_variation_loss(mx.nd.array([[[[0., 1.], [3., 3.]]]])).asnumpy()
        array([14.], dtype=float32)

    References:
        Mahendran and Vedaldi, Understanding Deep Image Representations by Inverting Them, CVPR 2015, section 3, with
        beta = 2.
    """
    F = backend(image)
    steps = [F.slice_axis(image, axis=axis, begin=1, end=None) - F.slice_axis(image, axis=axis, begin=0, end=-1)
             for axis in (2, 3)]
    return sum(F.sum(F.square(step), axis=(1, 2, 3)) for step in steps)


class TotalVariationLoss(LossBlock):
    """`total_variation_loss` of each sample, ``(batch,)``, called with ``(image, sample_weight)``.

    Args:
        weight: what the loss and its gradient are multiplied by, at least 0.

    Examples:
        >>> TotalVariationLoss(weight=0.5)(mx.nd.array([[[[0., 1.], [3., 3.]]]])).asnumpy()
        array([7.], dtype=float32)
    """

    inputs = ("image", "sample_weight")

    def _check_arrays(self, who, image, sample_weight=None):
        _check.rank(who, "image", image.shape, 4, "(batch, channel, height, width)")
        if min(image.shape[2:]) < 2:
            _check.fail(who, "image", "at least two pixels high and wide", image.shape)
        check_sample_weight(who, sample_weight, image.dtype, image.shape[:1])

    def hybrid_forward(self, F, image, sample_weight=None):
        """Losses ``(batch,)``."""
        return self._sum(F, total_variation_loss(image), sample_weight)
