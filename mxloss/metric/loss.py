"""The loss of one head, reported as it is optimised."""
from .. import _check
from ..operator import explained
from .base import HeadMetric, host, parts, register

REPORTS = ("item", "batch", "sum", "scaled_sum")


@register
class Loss(HeadMetric):
    r"""Average the loss of one head over its items.

    .. math:: s \cdot \frac{\sum_i L_i}{\sum_i 1}

    with the scale s of the head's gradient, before the head's own normalization: the same for any split of the data
    into batches and devices. Items are the labels that are not ignored, per position; where there are no labels, the
    elements of the output. The number that the head optimises, with its normalization, is `value`.

    Args:
        name: what to call the loss.
        output_names: the one output to read, as a list; by default the only one.
        label_names: the one label that belongs to it, as a list; by default the first.
        head: the operator that made the output: 'SoftmaxOutput', 'LinearRegressionOutput',
            'LogisticRegressionOutput', 'MAERegressionOutput', 'SVMOutput', 'MakeLoss' (also for any array of
            losses), 'make_loss' or 'centerloss'.
        report: 'item', the mean over all items, the only one that does not depend on the batch size; 'batch', the mean
            of the batches' means; 'sum', the sum of the batches' means; 'scaled_sum', that sum times the batch size
            (of the largest batch).
        options: attributes of the operator; see `Metric` and `HeadMetric` for the rest.

    Examples:
        >>> loss = Loss('hinge', output_names=['hinge'])
        >>> loss.update_dict({}, {'hinge': mx.nd.array([1, 2, 3]), 'other': mx.nd.array([9])})
        >>> loss.update_dict({}, {'hinge': mx.nd.array([6]), 'other': mx.nd.array([9])})
        >>> loss.get()
        ('hinge', 3.0)
    """

    def __init__(self, name="loss", output_names=None, label_names=None, *, head="MakeLoss", report="item", **options):
        self.report = _check.choice(name, "report", report, REPORTS)
        super().__init__(name, output_names, label_names, head=head, config={"head": head, "report": report}, **options)

    def state(self, labels, preds):
        out, label, wrong = self.fitted(labels, preds)
        samples = preds[0].shape[0] if label is None else labels[0][0].shape[0]
        return [*self.head.sums(out, label), samples, wrong]

    def reduce(self, sums):
        total, count, samples = super().reduce(sums)
        mean = self.head.scale * total / count if count else 0.0
        return [mean * count, count, mean, float(count > 0), samples]

    def add(self, one, other):
        return super().add(one[:-1], other[:-1]) + [max(one[-1], other[-1])]

    def read(self, sums):
        total, count, means, batches, samples = (float(entry) for entry in sums)
        if not count:
            return float("nan")
        return {"item": total / count, "batch": means / batches, "sum": means, "scaled_sum": means * samples}[
            self.report]

    def value(self, labels, preds):
        """The number whose gradient the head sends for these arrays: the sum over devices, each with its own divisor.

        Examples:
            >>> loss = Loss('half', head='MakeLoss', grad_scale=0.5)
            >>> loss.value([], mx.nd.array([1, 2, 3]))
            3.0
        """
        total = 0.0
        for part in parts(self.name, labels, self.label_names, preds, self.output_names):
            out, label, wrong = self.fitted(*self.found(*part))
            with explained():
                (value,) = super().reduce([host(self.head.value(out, label)), host(wrong)])
            total += float(value)
        return total
