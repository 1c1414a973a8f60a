"""Softmax of cosines with a margin: SphereFace (Liu and others, 2017), CosFace (2018) and ArcFace (2019)."""
import math

import mxnet as mx

from .. import _check
from ..functional import backend, guarded_label, is_own_class
from ._block import LossBlock, check_classes, check_sample_weight, ignored
from .softmax import softmax_loss

EDGE = 1e-7  # of a cosine: nearer to 1 or -1 the slope of acos is not followed


def cosines(feature, direction):
    """Compare each feature with each class by the angle between them.

    Args:
        feature: ``(batch, feature_size)``, array or symbol.
        direction: one row for each class, ``(num_class, feature_size)``.

    Returns:
        Cosine of the angles, ``(batch, num_class)``; 0, with gradient 0, where a row has no length.

    Examples:
        >>> cosines(mx.nd.array([[3., 4.], [0., 0.]]), mx.nd.array([[2., 0.], [0., -1.]])).asnumpy()
        array([[ 0.6, -0.8],
               [ 0. ,  0. ]], dtype=float32)
    """
    F = backend(feature)
    return F.dot(_unit(F, feature), _unit(F, direction), transpose_b=True)


def _unit(F, rows):
    """Rows of length 1; a row without length stays 0."""
    square = F.sum(F.square(rows), axis=1, keepdims=True)
    has_length = square > 1e-30
    safe = F.where(has_length, square, F.ones_like(square))
    return F.broadcast_mul(rows, has_length * F.rsqrt(safe))


def margin_softmax_loss(cosine, label, *, scale=64.0, m1=1.0, m2=0.5, m3=0.0, ignore_label=None):
    r"""Turn each feature to its class until the angle between them is small by a margin.

    .. math:: L_i = -\log \frac{e^{s \psi(\theta_{y_i})}}{e^{s \psi(\theta_{y_i})} + \sum_{j \ne y_i} e^{s \cos
              \theta_j}}, \quad \psi(\theta) = (-1)^k \cos(m_1 \theta + m_2) - 2k - m_3, \quad
              k = \lfloor (m_1 \theta + m_2) / \pi \rfloor

    k makes the margin grow all the way to opposite directions, as SphereFace defines it; the other two papers have
    k = 0. (1, 0.5, 0) is ArcFace, (1, 0, 0.35) CosFace and (4, 0, 0) SphereFace, with s for the length of its features.

    Args:
        cosine: cosine of the angle between feature and class, ``(batch, num_class)``, array or symbol. Within 1e-7 of 1
            or -1 the loss is taken at that distance, with gradient 0 through the own class.
        label: class of each sample, ``(batch,)``.
        scale: s, what the cosines are multiplied by, > 0.
        m1: factor of the own class's angle, at least 1.
        m2: margin added to the angle, in radians, in [0, pi].
        m3: margin subtracted from the cosine, at least 0.
        ignore_label: samples of this label cost nothing; None for no such label.

    Returns:
        Loss of each sample, ``(batch,)``, dtype of `cosine`.

    Examples:
        >>> cosine, label = mx.nd.array([[0.5, 0.5]]), mx.nd.array([0])
        >>> margin_softmax_loss(cosine, label, scale=2, m1=1, m2=0, m3=0.5).asnumpy().round(4)
        array([1.3133], dtype=float32)

    References:
        Deng, Guo, Xue and Zafeiriou, ArcFace, CVPR 2019, eq. 4; Liu and others, SphereFace, CVPR 2017, eq. 7;
        Wang and others, CosFace, CVPR 2018, eq. 4.
    """
    F = backend(cosine)
    angle = F.arccos(F.clip(F.pick(cosine, label, axis=1), -1 + EDGE, 1 - EDGE))
    wide = m1 * angle + m2
    k = F.BlockGrad(F.floor(wide / math.pi))
    odd = k - 2 * F.floor(k / 2)
    own = (1 - 2 * odd) * F.cos(wide) - 2 * k - m3
    own = F.broadcast_like(F.expand_dims(own, axis=1), cosine)
    return softmax_loss(scale * F.where(is_own_class(label, cosine), own, cosine), label, ignore_label=ignore_label)


class MarginSoftmaxLoss(LossBlock):
    """`margin_softmax_loss` of each sample, ``(batch,)``, called with ``(feature, label, sample_weight)``.

    It owns the classes' directions, ``<prefix>direction_weight`` (num_class, feature_size), as the papers' heads do:
    they count by their angle only, which no layer before the loss could see to. Features are cast to `dtype` and may
    have any length. To predict, and for an accuracy, take `scores`.

    Args:
        num_class: number of classes, at least 1; labels are whole numbers from 0 to num_class - 1.
        feature_size: length of a feature.
        scale: what the cosines are multiplied by, > 0.
        m1: factor of the own class's angle, at least 1.
        m2: margin added to the angle, in radians, in [0, pi].
        m3: margin subtracted from the cosine, at least 0.
        ignore_label: samples of this label cost nothing; None for no such label.
        weight: what the loss and its gradient are multiplied by, at least 0.
        dtype: of the directions and of the losses, 'float32' or 'float64'.

    Raises:
        ValueError: a label that is no class, where Python sees it. Inside a graph, `Module.update` and `Trainer.step`
            raise it before that batch has changed anything.

    Examples:
        >>> head = MarginSoftmaxLoss(2, 2, scale=2, m2=0, m3=0.5)
        >>> head.initialize(mx.init.One())
        >>> feature = mx.nd.array([[3., 4.]])
        >>> head(feature, mx.nd.array([0])).asnumpy().round(4)
        array([1.3133], dtype=float32)
        >>> head.scores(feature).asnumpy().round(3)
        array([[1.98, 1.98]], dtype=float32)
    """

    inputs = ("feature", "label", "sample_weight")

    def __init__(self, num_class, feature_size, *, scale=64.0, m1=1.0, m2=0.5, m3=0.0, ignore_label=None, weight=1.0,
                 dtype="float32", prefix=None, params=None):
        super().__init__(weight=weight, prefix=prefix, params=params)
        who = "MarginSoftmaxLoss"
        self._shape = (_check.integer(who, "num_class", num_class, low=1),
                       _check.integer(who, "feature_size", feature_size, low=1))
        self._margin = {"scale": _check.number(who, "scale", scale, 0, low_open=True),
                        "m1": _check.number(who, "m1", m1, 1),
                        "m2": _check.number(who, "m2", m2, 0, math.pi),
                        "m3": _check.number(who, "m3", m3, 0)}
        self._ignore_label, self._allowed = ignored(who, ignore_label)
        self._dtype = _check.choice(who, "dtype", dtype, ("float32", "float64"))
        with self.name_scope():
            self.direction_weight = self.params.get("direction_weight", shape=self._shape, dtype=self._dtype)

    def scores(self, feature):
        """What the softmax is taken of, without a margin: scale * cosine, ``(batch, num_class)``, array or symbol."""
        F = backend(feature)
        direction = self.direction_weight
        direction = direction.var() if isinstance(feature, mx.sym.Symbol) else direction.data(feature.context)
        return self._margin["scale"] * cosines(F.cast(feature, dtype=self._dtype), direction)

    def _check_arrays(self, who, feature, label, sample_weight=None):
        batch = feature.shape[:1]
        _check.shape(who, "feature", feature.shape, batch + self._shape[1:])
        check_classes(who, label, batch, self._shape[0], self._ignore_label)
        check_sample_weight(who, sample_weight, self._dtype, batch)

    def hybrid_forward(self, F, feature, label, sample_weight=None, *, direction_weight):
        """Losses ``(batch,)``."""
        cosine = cosines(F.cast(feature, dtype=self._dtype), direction_weight)
        label = guarded_label(label, cosine, allowed=self._allowed, who=type(self).__name__)
        loss = margin_softmax_loss(cosine, label, ignore_label=self._ignore_label, **self._margin)
        return self._mean(F, loss, sample_weight)
