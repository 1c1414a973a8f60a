"""Measures that are no losses: how often the network is right, and how features lie about their centers."""
import mxnet as mx
import numpy as np

from .. import _check
from .base import HeadMetric, Metric, register


class ClassifierMeasure(HeadMetric):
    """A measure over class scores, such as the output of a SoftmaxOutput, and their labels.

    Args:
        name: what to call it.
        output_names: the one output of class scores, as a list.
        label_names: the one label that belongs to it, as a list.
        options: attributes of the SoftmaxOutput that the scores come from: `use_ignore`, `multi_output` ...; see
            `Metric` and `HeadMetric` for the rest.
    """

    config = ()

    def __init__(self, name, output_names=None, label_names=None, **options):
        super().__init__(name, output_names, label_names, head="SoftmaxOutput",
                         config={key: getattr(self, key) for key in self.config}, **options)

    def state(self, labels, preds):
        out, label, wrong = self.fitted(labels, preds)
        if label.shape == out.shape:
            label = label.argmax(axis=1)
        kept = self.head.kept(label) if self.head.use_ignore else None
        right = self.right(out, label).astype("float64")
        return [*self.counts(right if kept is None else right * kept, label, kept), wrong]

    def right(self, out, label):
        """1 for each item that is right, else 0."""
        return out.argmax(axis=1).astype("float64") == label.astype("float64")

    def counts(self, right, label, kept):
        """How many items are right, and how many there are; `kept` is 1 for those that count and None for all."""
        return right.sum(), label.size if kept is None else kept.sum()


@register
class Accuracy(ClassifierMeasure):
    """Count how often the largest of the class scores is the label's, over the items that are not ignored.

    The arguments are those of `ClassifierMeasure`.

    Examples:
        >>> accuracy = Accuracy()
        >>> accuracy.update(mx.nd.array([1, 0]), mx.nd.array([[.2, .8], [.4, .6]]))
        >>> accuracy.get()
        ('accuracy', 0.5)
    """

    def __init__(self, name="accuracy", output_names=None, label_names=None, **options):
        super().__init__(name, output_names, label_names, **options)


@register
class TopK(ClassifierMeasure):
    """Count how often the label's score is among the `k` largest; a score that equals it counts as larger.

    The arguments are those of `ClassifierMeasure`, and `k`, at least 1. The name is ``top_<k>_accuracy`` by default.

    Examples:
        >>> top = TopK(k=2)
        >>> top.update(mx.nd.array([1, 0]), mx.nd.array([[.3, .2, .5], [.4, .5, .1]]))
        >>> top.get()
        ('top_2_accuracy', 0.5)
    """

    config = ("k",)

    def __init__(self, name=None, output_names=None, label_names=None, *, k=5, **options):
        self.k = _check.integer("TopK", "k", k, low=1)
        super().__init__(name or "top_{}_accuracy".format(k), output_names, label_names, **options)

    def right(self, out, label):
        own = out.pick(label, axis=1, keepdims=True)
        return mx.nd.broadcast_greater(own, out).sum(axis=1) >= out.shape[1] - self.k


@register
class ClassAccuracy(ClassifierMeasure):
    """Count how often each class is recognised: ``accuracy_<class>`` for each of `num_class` classes.

    The arguments are those of `ClassifierMeasure`, and `num_class`. A class that has not come gives nan.

    Examples:
        >>> accuracy = ClassAccuracy(num_class=3)
        >>> accuracy.update(mx.nd.array([1, 1, 0]), mx.nd.array([[.2, .7, .1], [.6, .3, .1], [.8, .1, .1]]))
        >>> accuracy.get()
        (['accuracy_0', 'accuracy_1', 'accuracy_2'], [1.0, 0.5, nan])
    """

    config = ("num_class",)

    def __init__(self, name="accuracy_", output_names=None, label_names=None, *, num_class, **options):
        self.num_class = _check.integer("ClassAccuracy", "num_class", num_class, low=1)
        super().__init__(name, output_names, label_names, **options)

    def right(self, out, label):
        _check.shape(self.name, "output", out.shape, (out.shape[0], self.num_class, *out.shape[2:]))
        return super().right(out, label)

    def counts(self, right, label, kept):
        each = label.reshape((-1,)).one_hot(self.num_class, dtype="float64")
        count = each.sum(axis=0) if kept is None else mx.nd.dot(kept.reshape((-1,)), each)
        return mx.nd.dot(right.reshape((-1,)), each), count

    def read(self, sums):
        right, count = np.broadcast_to(sums[0], self.num_class), np.broadcast_to(sums[1], self.num_class)
        return [float(r / n) if n else float("nan") for r, n in zip(right, count)]

    def named(self, sums):
        names = ["{}{}".format(self.name, klass) for klass in range(self.num_class)]
        return names, [float("nan")] * self.num_class if sums is None else self.read(sums)


class CenterMeasure(Metric):
    """A measure of how features lie about the centers of their classes.

    Args:
        name: what to call it.
        output_names: the output of features, ``(batch, feature_size)``, and if they are one, that of the centers.
        label_names: the label of the features, as a list; whole numbers below the number of centers.
        centers: the centers, ``(num_class, feature_size)``, or a function that gives them, such as
            ``block.class_centers``; None if they are an output.
    """

    def __init__(self, name, output_names=None, label_names=None, *, centers=None, **shared):
        self.centers = centers
        self.reads = 2 if centers is None else 1
        super().__init__(name, output_names, label_names, **shared)

    def get_config(self):
        if callable(self.centers):
            _check.fail(self.name, "centers", "an array or an output, for a configuration", self.centers)
        centers = None if self.centers is None else np.asarray(
            self.centers.asnumpy() if isinstance(self.centers, mx.nd.NDArray) else self.centers).tolist()
        return dict(super().get_config(), centers=centers)

    def state(self, labels, preds):
        feature = preds[0]
        centers = preds[1] if self.centers is None else self.centers() if callable(self.centers) else self.centers
        if not isinstance(centers, mx.nd.NDArray):
            centers = mx.nd.array(centers, ctx=feature.context, dtype=feature.dtype)
        centers = centers.as_in_context(feature.context).astype(feature.dtype, copy=False)
        _check.rank(self.name, "output", feature.shape, 2, "(batch, feature_size)")
        _check.rank(self.name, "centers", centers.shape, 2, "(num_class, feature_size)")
        _check.shape(self.name, "centers", centers.shape, (centers.shape[0], feature.shape[1]))
        if not labels:
            _check.fail(self.name, "labels", "given", "none")
        label, held = labels[0]
        _check.shape(self.name, "label", label.shape, feature.shape[:1])
        if held:
            _check.classes(self.name, label.asnumpy(), centers.shape[0])
        return self.sums(feature, label.as_in_context(feature.context), centers)

    def sums(self, feature, label, centers):
        """The state, from arrays on one device."""
        raise NotImplementedError


@register
class CenterAccuracy(CenterMeasure):
    """Count how often the nearest center is that of the label's class.

    The arguments are those of `CenterMeasure`.

    Examples:
        >>> measure = CenterAccuracy(centers=[[0, 0], [4, 0]])
        >>> measure.update(mx.nd.array([0, 0]), mx.nd.array([[1, 1], [3, 0]]))
        >>> measure.get()
        ('nearest_center_accuracy', 0.5)
    """

    def __init__(self, name="nearest_center_accuracy", output_names=None, label_names=None, **shared):
        super().__init__(name, output_names, label_names, **shared)

    def sums(self, feature, label, centers):
        # Half the squared distance, without the half square of the feature, which is the same for every center.
        distance = (centers.square().sum(axis=1) / 2).expand_dims(0) - mx.nd.dot(feature, centers, transpose_b=True)
        return [(distance.argmin(axis=1).astype("float64") == label.astype("float64")).sum(), label.size]


@register
class CenterDistance(CenterMeasure):
    """Average the distance of each feature to the center of its own class.

    The arguments are those of `CenterMeasure`.

    Examples:
        >>> measure = CenterDistance(centers=[[0, 0], [4, 0]])
        >>> measure.update(mx.nd.array([0, 1]), mx.nd.array([[3, 4], [4, 1]]))
        >>> measure.get()
        ('own_center_distance', 3.0)
    """

    def __init__(self, name="own_center_distance", output_names=None, label_names=None, **shared):
        super().__init__(name, output_names, label_names, **shared)

    def sums(self, feature, label, centers):
        return [(feature - centers.take(label)).norm(axis=1).astype("float64").sum(), label.size]


@register
class CenterSpread(CenterMeasure):
    """Average the distance between the centers of two classes, over all pairs; of the mean centers, if they move.

    The arguments are those of `CenterMeasure`.

    Examples:
        >>> measure = CenterSpread(centers=[[0, 0], [4, 0], [4, 3]])
        >>> measure.update(mx.nd.array([0]), mx.nd.array([[1, 1]]))
        >>> measure.get()
        ('between_center_distance', 4.0)
    """

    def __init__(self, name="between_center_distance", output_names=None, label_names=None, **shared):
        super().__init__(name, output_names, label_names, **shared)

    def sums(self, feature, label, centers):
        return [centers.astype("float64") * label.size, label.size]

    def read(self, sums):
        centers = sums[0] / sums[1]
        number = len(centers)
        apart = sum(np.sqrt(((centers[j + 1:] - centers[j]) ** 2).sum(axis=1)).sum() for j in range(number))
        return float(apart / (number * (number - 1) / 2)) if number > 1 else float("nan")


@register
class FeatureNorm(Metric):
    """Average the length of the features, ``(batch, feature_size)``; the arguments are those of `Metric`.

    Examples:
        >>> norm = FeatureNorm(output_names=['embedding'])
        >>> norm.update_dict({}, {'embedding': mx.nd.array([[3, 4], [0, 1]])})
        >>> norm.get()
        ('feature_norm', 3.0)
    """

    def __init__(self, name="feature_norm", output_names=None, label_names=None, **shared):
        super().__init__(name, output_names, label_names, **shared)

    def state(self, labels, preds):
        (feature,) = preds
        _check.rank(self.name, "output", feature.shape, 2, "(batch, feature_size)")
        return [feature.norm(axis=1).astype("float64").sum(), feature.shape[0]]
