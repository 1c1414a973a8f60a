"""Softmax cross-entropy with ignored labels, sample weights and label smoothing (Szegedy and others, 2016)."""
from .. import _check
from ..functional import backend, guarded_label
from ._block import LossBlock, check_classes, check_sample_weight, ignored


def softmax_loss(pred, label, *, axis=-1, ignore_label=None, smoothing=0.0):
    r"""Raise the score of each item's class over the scores of the others.

    .. math:: L = -(1 - \varepsilon) \log p_y - \frac{\varepsilon}{K} \sum_k \log p_k, \quad
              p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}

    Args:
        pred: scores before the softmax, any shape with the classes along `axis`, array or symbol.
        label: class of each item, in the shape of `pred` without `axis`.
        axis: which axis of `pred` holds the classes.
        ignore_label: items of this label cost nothing; None for no such label.
        smoothing: how much of the target is spread evenly over all K classes, in [0, 1].

    Returns:
        Loss of each item, in the shape of `label` and the dtype of `pred`.

    Examples:
        >>> pred, label = mx.nd.array([[0., 0.], [0., 800.], [5., 0.]]), mx.nd.array([1, 0, -1])
        >>> softmax_loss(pred, label, ignore_label=-1).asnumpy().round(4)
        array([6.931e-01, 8.000e+02, 0.000e+00], dtype=float32)

    References:
        Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, Rethinking the Inception Architecture for Computer Vision,
        CVPR 2016, section 7.
    """
    F = backend(pred)
    log_p = F.log_softmax(pred, axis=axis)
    loss = -F.pick(log_p, label, axis=axis)
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * F.mean(log_p, axis=axis)
    if ignore_label is not None:
        loss = F.where(label == ignore_label, F.zeros_like(loss), loss)
    return loss


class SoftmaxLoss(LossBlock):
    """`softmax_loss` averaged over each sample's items, ``(batch,)``, called with ``(pred, label, sample_weight)``.

    Unlike `SoftmaxOutput` it heeds the gradient from above, so outer weights and loss scaling work, and accumulates
    rightly with ``grad_req='add'``. An ignored item costs nothing and stays in the average, whose divisor is then
    the same on every device; to divide by the items that count, give ``item_weight(label != ignore_label)`` as
    `sample_weight`, taken over the whole batch (`mxloss.functional.item_weight`, `mxloss.io.ItemWeightIter`).

    `sample_weight` is a weight for each sample, ``(batch,)``, or for each item, in the shape of the labels.

    Args:
        axis: which axis of `pred` holds the classes, not 0.
        ignore_label: items of this label cost nothing; None for no such label.
        smoothing: how much of the target is spread evenly over all classes, in [0, 1].
        weight: what the loss and its gradient are multiplied by, at least 0.

    Raises:
        ValueError: a label that is no class, where Python sees it. Inside a graph, `Module.update` and `Trainer.step`
            raise it before that batch has changed anything.

    Examples:
        In a Group, beside the predictions that a metric wants:

        >>> scores, label = mx.sym.var('scores'), mx.sym.var('softmax_label')
        >>> loss = mxloss.SoftmaxLoss(smoothing=0.1)(scores, label)
        >>> net = mx.sym.Group([mx.sym.BlockGrad(mx.sym.softmax(scores), name='softmax'),
        ...                     mx.sym.MakeLoss(loss, name='softmax_loss')])
        >>> net.list_outputs()
        ['softmax_output', 'softmax_loss_output']
    """

    def __init__(self, *, axis=-1, ignore_label=None, smoothing=0.0, weight=1.0, prefix=None, params=None):
        super().__init__(weight=weight, prefix=prefix, params=params)
        self._axis = _check.integer("SoftmaxLoss", "axis", axis)
        if self._axis == 0:
            _check.fail("SoftmaxLoss", "axis", "an axis other than 0, which holds the batch", axis)
        self._ignore_label, self._allowed = ignored("SoftmaxLoss", ignore_label)
        self._smoothing = _check.number("SoftmaxLoss", "smoothing", smoothing, 0, 1)

    def _check_arrays(self, who, pred, label, sample_weight=None):
        axis = _check.axis(who, "pred", pred.shape, self._axis)
        items = pred.shape[:axis] + pred.shape[axis + 1:]
        check_classes(who, label, items, pred.shape[axis], self._ignore_label)
        check_sample_weight(who, sample_weight, pred.dtype, items[:1], items)

    def hybrid_forward(self, F, pred, label, sample_weight=None):
        """Losses ``(batch,)``."""
        label = guarded_label(label, pred, axis=self._axis, allowed=self._allowed, who=type(self).__name__)
        loss = softmax_loss(pred, label, axis=self._axis, ignore_label=self._ignore_label, smoothing=self._smoothing)
        return self._mean(F, loss, sample_weight)
