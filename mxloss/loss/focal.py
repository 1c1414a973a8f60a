"""Focal loss for detectors with many easy negatives (Lin, Goyal, Girshick, He and Dollár, 2017)."""
from .. import _check
from ..functional import backend, guarded_label, is_own_class
from ._block import LossBlock, check_classes, check_sample_weight, ignored


def focal_loss(pred, label, *, alpha=0.25, gamma=2.0, ignore_label=None, background=False):
    r"""Learn each class against all else by its own logistic unit, with little weight on what is easy already.

    .. math:: L = \sum_k -\alpha_t (1 - p_t)^\gamma \log p_t, \quad
              p_t, \alpha_t = \begin{cases} \sigma(z_k), \alpha & k = y \\ 1 - \sigma(z_k), 1 - \alpha & k \ne y
              \end{cases}

    Args:
        pred: scores before the logistic function, ``(..., num_class)``, array or symbol.
        label: class of each item, in the shape of `pred` without its last axis.
        alpha: weight of an item's own class against that of the others, in [0, 1].
        gamma: how much easy items are played down, at least 0; 0 is cross-entropy.
        ignore_label: items of this label cost nothing; None for no such label.
        background: True where label 0 is "no object" and label k the class with the score at k - 1, as
            `MultiBoxTarget` counts.

    Returns:
        Loss of each item, in the shape of `label` and the dtype of `pred`.

    Examples:
        >>> pred, label = mx.nd.array([[0., 0.], [9., -9.], [9., -9.]]), mx.nd.array([0, 0, 1])
        >>> focal_loss(pred, label).asnumpy().round(3)
        array([0.173, 0. , 8.998], dtype=float32)

    References:
        Lin, Goyal, Girshick, He and Dollár, Focal Loss for Dense Object Detection, ICCV 2017, eq. 5.
    """
    F = backend(pred)
    label = F.cast(label, dtype="float64")
    own = is_own_class(label - 1 if background else label, pred)
    score = F.where(own, pred, -pred)  # log p_t = -softplus(-score), log (1 - p_t) = -softplus(score)
    balance = F.where(own, alpha * F.ones_like(pred), (1 - alpha) * F.ones_like(pred))
    loss = F.sum(balance * F.exp(-gamma * _softplus(F, score)) * _softplus(F, -score), axis=-1)
    if ignore_label is not None:
        loss = F.where(label == ignore_label, F.zeros_like(loss), loss)
    return loss


def _softplus(F, x):
    """log(1 + e^x), exact far out and with the right derivative at 0, which MXNet's `abs` and `relu` have not."""
    positive = x > 0
    return F.where(positive, x, F.zeros_like(x)) + F.log1p(F.exp(F.where(positive, -x, x)))


class FocalLoss(LossBlock):
    """`focal_loss` averaged over each sample's items, ``(batch,)``, called with ``(pred, label, sample_weight)``.

    The paper divides by the anchors that show an object: give ``item_weight(label != ignore_label, label > 0)`` as
    `sample_weight`, taken over the whole batch (`mxloss.functional.item_weight`, `mxloss.io.ItemWeightIter`).

    `sample_weight` is a weight for each sample, ``(batch,)``, or for each item, in the shape of the labels.

    Args:
        alpha: weight of an item's own class against that of the others, in [0, 1].
        gamma: how much easy items are played down, at least 0.
        ignore_label: items of this label cost nothing; None for no such label.
        background: True where label 0 is "no object" and label k the class with the score at k - 1.
        weight: what the loss and its gradient are multiplied by, at least 0.

    Raises:
        ValueError: a label that is no class, where Python sees it. Inside a graph, `Module.update` and `Trainer.step`
            raise it before that batch has changed anything.

    Examples:
        >>> anchors = mx.nd.array([[[0., 0.], [2., 0.]]])         # one image, two anchors, two classes
        >>> FocalLoss(background=True, ignore_label=-1)(anchors, mx.nd.array([[2, -1]])).asnumpy().round(4)
        array([0.0866], dtype=float32)
    """

    def __init__(self, *, alpha=0.25, gamma=2.0, ignore_label=None, background=False, weight=1.0, prefix=None,
                 params=None):
        super().__init__(weight=weight, prefix=prefix, params=params)
        self._alpha = _check.number("FocalLoss", "alpha", alpha, 0, 1)
        self._gamma = _check.number("FocalLoss", "gamma", gamma, 0)
        self._ignore_label, self._allowed = ignored("FocalLoss", ignore_label)
        self._background = _check.flag("FocalLoss", "background", background)

    def _check_arrays(self, who, pred, label, sample_weight=None):
        _check.axis(who, "pred", pred.shape, -1)
        items = pred.shape[:-1]
        check_classes(who, label, items, pred.shape[-1] + self._background, self._ignore_label)
        check_sample_weight(who, sample_weight, pred.dtype, items[:1], items)

    def hybrid_forward(self, F, pred, label, sample_weight=None):
        """Losses ``(batch,)``."""
        if self._background:
            label = guarded_label(label, pred, first=1, allowed=(0,) + self._allowed, who=type(self).__name__)
        else:
            label = guarded_label(label, pred, allowed=self._allowed, who=type(self).__name__)
        loss = focal_loss(pred, label, alpha=self._alpha, gamma=self._gamma, ignore_label=self._ignore_label,
                          background=self._background)
        return self._mean(F, loss, sample_weight)
