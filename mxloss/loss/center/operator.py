"""Center loss (Wen, Zhang, Li and Qiao, 2016)."""
import mxnet as mx
import numpy as np

from ... import _check
from ...operator import register


def center_loss(feature, center):
    r"""Pull each feature to the center of its class.

    .. math:: L_i = \tfrac12 \lVert x_i - c_{y_i} \rVert^2

    Args:
        feature: ``(batch, feature_size)``, array or symbol.
        center: center of each sample's own class, ``(batch, feature_size)``.

    Returns:
        Loss of each sample, ``(batch,)``, dtype of `feature`.

    Examples:
        >>> feature = mx.nd.array([[3., 4.], [1., 1.]])
        >>> center = mx.nd.array([[0., 0.], [1., 0.]])
        >>> center_loss(feature, center).asnumpy()
        array([12.5,  0.5], dtype=float32)

    References:
        Wen, Zhang, Li and Qiao, A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, eq. 2.
    """
    difference = feature - center
    # Summed by a product with ones: MXNet's own sum over the last axis takes three times as long.
    ones = difference.slice_axis(axis=0, begin=0, end=1).reshape((-1,)).ones_like()
    F = mx.sym if isinstance(feature, mx.sym.Symbol) else mx.nd
    return F.dot(difference.square(), ones) / 2


def center_step(total, count):
    r"""Move centers by their mean distance to the samples of a batch, as if one more sample lay on each center.

    .. math:: \Delta c_j = \frac{\sum_i \delta(y_i = j) (c_j - x_i)}{1 + \sum_i \delta(y_i = j)}

    Both sums are over the *whole* batch, all devices and workers: because of the 1, steps of parts do not add up.

    Args:
        total: sum of (center - feature) over the samples of each class, ``(num_class, feature_size)``.
        count: number of samples of each class, ``(num_class, 1)``.

    Returns:
        What to subtract from the centers after scaling by alpha, ``(num_class, feature_size)``.

    Examples:
        >>> center_step(mx.nd.array([[-6., 3.]]), mx.nd.array([[2.]])).asnumpy()
        array([[-2.,  1.]], dtype=float32)

    References:
        Wen, Zhang, Li and Qiao, A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, eq. 4.
    """
    return total / (count + 1)


@register("centerloss")
class CenterLossProp(mx.operator.CustomOpProp):
    """What ``mx.sym.Custom(data=, label=, op_type='centerloss', ...)`` is made of.

    The output is the batch mean of `center_loss`, ``(1,)``; the gradient of `data` is scale * (x_i - c_{y_i}) for each
    sample, whatever stands behind the operator. The centers are the auxiliary state ``<name>_center_bias``,
    ``(num_class, feature_size)``; they move in the forward pass of training and never in evaluation. Each device keeps
    centers of its own. float16 features have float32 centers.

    Args:
        num_class: number of classes, at least 1; labels are whole numbers from 0 to num_class - 1.
        alpha: how far the centers move towards their samples in a step, in [0, 1].
        scale: weight of the loss in the gradient of the features, at least 0.
        batchsize: accepted for networks written for the well-known operator; any batch size works.
    """

    def __init__(self, num_class: int, alpha: float = 0.5, scale: float = 1.0, batchsize: int = 1):
        super().__init__(need_top_grad=False)
        self.num_class = _check.integer("centerloss", "num_class", num_class, low=1)
        self.alpha = _check.number("centerloss", "alpha", alpha, 0, 1)
        self.scale = _check.number("centerloss", "scale", scale, 0)
        _check.integer("centerloss", "batchsize", batchsize, low=1)

    def list_arguments(self):
        return ["data", "label"]

    def list_auxiliary_states(self):
        return ["center_bias"]  # an initializer sets what ends in _bias to zero

    def infer_shape(self, in_shape):
        data, label = in_shape
        _check.rank("centerloss", "data", data, 2, "(batch, feature_size)")
        if label:
            _check.shape("centerloss", "label", label, data[:1])
        return [data, data[:1]], [(1,)], [(self.num_class, data[1])]

    def infer_type(self, in_type):
        data, label = in_type
        data = data or label or np.float32
        label = label or data
        _check.choice("centerloss", "dtype of data", np.dtype(data).name, ("float16", "float32", "float64"))
        _check.class_type("centerloss", self.num_class, label)
        return [data, label], [data], [np.float32 if data is np.float16 else data]

    def create_operator(self, ctx, in_shapes, in_dtypes):
        return CenterLossOperator(self.num_class, self.alpha, self.scale)


class CenterLossOperator(mx.operator.CustomOp):
    """The passes of `CenterLossProp`."""

    def __init__(self, num_class, alpha, scale):
        super().__init__()
        self.num_class, self.alpha, self.scale = num_class, alpha, scale
        self.difference = None

    def forward(self, is_train, req, in_data, out_data, aux):
        feature, center = in_data[0].astype(aux[0].dtype, copy=False), aux[0]
        label = _check.classes("centerloss", in_data[1].asnumpy(), self.num_class)
        own = center.take(in_data[1])
        self.assign(out_data[0], req[0], center_loss(feature, own).mean().astype(out_data[0].dtype))
        if is_train:
            # Kept for backward, whose gradient is that of the centers as they were.
            self.difference = feature - own
            present, count = np.unique(label, return_counts=True)
            rows = mx.nd.array(present, dtype="int64")
            total = mx.nd.sparse.dot(_members(label, count, center.dtype), -self.difference)
            step = center_step(total, mx.nd.array(count.reshape(-1, 1), dtype=center.dtype))
            center[rows] = center.take(rows) - self.alpha * step

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], (self.scale * self.difference).astype(in_grad[0].dtype))
        self.assign(in_grad[1], req[1], mx.nd.zeros_like(in_grad[1]))


def _members(label, count, dtype):
    """Which samples belong to each class that is present, as a sparse matrix of ones, (present, batch)."""
    order = np.argsort(label, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(count)])
    return mx.nd.sparse.csr_matrix((np.ones(len(label)), order, bounds), shape=(len(count), len(label)), dtype=dtype)
