"""Smooth L1 loss of box regression (Girshick, 2015), with the inner and outer weights of its detectors."""
import mxnet as mx
import numpy as np

from .. import _check
from ..functional import backend
from ..operator import register
from ._block import LossBlock, check_same

NORMALIZATIONS = ("batch", "regions")


def smooth_l1_loss(pred, label, inside_weight=None, outside_weight=None, *, sigma=1.0):
    r"""Pull predictions to their targets, by the square when they are near and by the distance when they are far.

    .. math:: L = w_{out} \, s(w_{in} (p - y)), \quad
              s(d) = \begin{cases} (\sigma d)^2 / 2 & |d| < 1 / \sigma^2 \\ |d| - 1 / (2 \sigma^2) & \text{else}
              \end{cases}

    Args:
        pred: predictions of any shape, array or symbol.
        label: targets, in the shape of `pred`.
        inside_weight: which coordinates count (those of a region's own class), broadcast to `pred`; None for all.
        outside_weight: weight of each coordinate's loss, broadcast to `pred`; None for 1.
        sigma: the square ends at a distance of 1 / sigma^2, > 0.

    Returns:
        Loss of each element, in the shape and dtype of `pred`.

    Examples:
        >>> pred, label = mx.nd.array([0.2, 3., -1.]), mx.nd.array([0., 1., 1.])
        >>> smooth_l1_loss(pred, label, None, mx.nd.array([1, 1, 0.5])).asnumpy()
        array([0.02, 1.5 , 0.75], dtype=float32)

    References:
        Girshick, Fast R-CNN, ICCV 2015, eq. 3; sigma and the weights as in Ren, He, Girshick and Sun, Faster R-CNN,
        NIPS 2015, and its code.
    """
    F = backend(pred)
    distance = pred - label
    if inside_weight is not None:
        distance = F.broadcast_mul(distance, inside_weight)
    loss = F.smooth_l1(distance, scalar=sigma)
    return loss if outside_weight is None else F.broadcast_mul(loss, outside_weight)


@register("smooth_l1_loss")
class SmoothL1LossProp(mx.operator.CustomOpProp):
    """What ``mx.sym.Custom(pred=, label=, inside_weight=, outside_weight=, op_type='smooth_l1_loss')`` is made of.

    The output is `smooth_l1_loss` of each element, in the shape of `pred`. It heeds the gradient that comes from
    above: stand it under ``MakeLoss(grad_scale=1 / regions)`` or under any other operator. All four arrays have
    one shape and one dtype.

    Args:
        sigma: the square ends at a distance of 1 / sigma^2, > 0.
    """

    def __init__(self, sigma: float = 1.0):
        super().__init__(need_top_grad=True)
        self.sigma = _check.number("smooth_l1_loss", "sigma", sigma, 0, low_open=True)

    def list_arguments(self):
        return ["pred", "label", "inside_weight", "outside_weight"]

    def infer_shape(self, in_shape):
        for name, shape in zip(self.list_arguments(), in_shape):
            if shape:
                _check.shape("smooth_l1_loss", name, shape, in_shape[0])
        return [in_shape[0]] * 4, [in_shape[0]], []

    def infer_type(self, in_type):
        wanted = in_type[0] or np.float32
        for name, dtype in zip(self.list_arguments(), in_type):
            if dtype:
                _check.dtype("smooth_l1_loss", name, dtype, wanted)
        return [wanted] * 4, [wanted], []

    def create_operator(self, ctx, shapes, dtypes):
        return SmoothL1LossOperator(self.sigma)


class SmoothL1LossOperator(mx.operator.CustomOp):
    """Has MXNet differentiate the formula; `SmoothL1LossProp` documents it."""

    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma

    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], smooth_l1_loss(*in_data, sigma=self.sigma))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        variables = [array.copy() for array in in_data]
        for variable in variables:
            variable.attach_grad()
        with mx.autograd.record():
            loss = smooth_l1_loss(*variables, sigma=self.sigma)
        loss.backward(out_grad[0])
        for target, how, variable in zip(in_grad, req, variables):
            self.assign(target, how, variable.grad)


class SmoothL1Loss(LossBlock):
    """`smooth_l1_loss` of each sample, ``(batch,)``, called with ``(pred, label, inside_weight, outside_weight)``.

    What the optimizer and a metric average over the batch becomes, by `normalization`, an average over

    ========== =========================================================================================
    'batch'    samples: the coordinates of a sample are added up.
    'regions'  all regions: `pred` is ``(batch, regions, ...)``, added up over a region's coordinates and
               averaged over a sample's regions.
    a number   samples, each divided by the number: as many regions as every sample is meant to have.
    foreground 'regions', with ``outside_weight=item_weight(foreground)`` taken over the whole batch, before
               it is cut for the devices (`mxloss.functional.item_weight`, `mxloss.io.ItemWeightIter`).
    ========== =========================================================================================

    No divisor depends on the slice of a device, so N devices take the step of one.

    Args:
        sigma: the square ends at a distance of 1 / sigma^2, > 0.
        normalization: 'batch', 'regions' or a number > 0.
        weight: what the loss and its gradient are multiplied by, at least 0.

    Examples:
        >>> pred, label = mx.nd.array([[[0.2, 3.], [0., 0.]]]), mx.nd.array([[[0., 1.], [9., 9.]]])
        >>> foreground = np.array([[1., 0.]])                     # one image, two regions, one of them an object
        >>> weight = mx.nd.array(mxloss.functional.item_weight(foreground)).expand_dims(2)
        >>> SmoothL1Loss(normalization='regions')(pred, label, None, weight).asnumpy()
        array([1.52], dtype=float32)
    """

    inputs = ("pred", "label", "inside_weight", "outside_weight")

    def __init__(self, *, sigma=1.0, normalization="batch", weight=1.0, prefix=None, params=None):
        super().__init__(weight=weight, prefix=prefix, params=params)
        self._sigma = _check.number("SmoothL1Loss", "sigma", sigma, 0, low_open=True)
        if isinstance(normalization, str):
            _check.choice("SmoothL1Loss", "normalization", normalization, NORMALIZATIONS)
        else:
            normalization = _check.number("SmoothL1Loss", "normalization", normalization, 0, low_open=True)
        self._normalization = normalization

    def _check_arrays(self, who, pred, label, inside_weight=None, outside_weight=None):
        check_same(who, pred, "label", label)
        if self._normalization == "regions" and pred.ndim < 3:
            _check.fail(who, "pred", "(batch, regions, coordinates)", pred.shape)
        for name, weight in (("inside_weight", inside_weight), ("outside_weight", outside_weight)):
            if weight is not None:
                _check.dtype(who, name, weight.dtype, pred.dtype)
                _check.broadcastable(who, name, weight.shape, pred.shape)

    def hybrid_forward(self, F, pred, label, inside_weight=None, outside_weight=None):
        """Losses ``(batch,)``."""
        if self._normalization == "regions":  # MXNet would broadcast weights of fewer axes to the wrong ones
            inside_weight, outside_weight = (weight if weight is None else F.reshape(weight, shape=(0, 0, 0, -2))
                                             for weight in (inside_weight, outside_weight))
        loss = smooth_l1_loss(pred, label, inside_weight, outside_weight, sigma=self._sigma)
        if self._normalization == "regions":
            regions = F.sum(F.reshape(loss, shape=(0, 0, 0, -1)), axis=(2, 3))  # fails where there is no third axis
            return self._mean(F, regions)
        loss = self._sum(F, loss)
        return loss if self._normalization == "batch" else loss / self._normalization
