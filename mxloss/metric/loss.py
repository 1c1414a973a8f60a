"""The loss of one head, reported as it is optimised."""
from .. import _check
from .base import Metric, register
from .head import HEADS


@register
class Loss(Metric):
    r"""Average the loss of one head over its items.

    .. math:: s \cdot \frac{\sum_i L_i}{\sum_i 1}

    with the scale s of the head's gradient, before the head's own normalization: the same for any split of the data
    into batches and devices.

    Args:
        name: what to call the loss.
        output_names: the one output to read, as a list; by default the only one.
        label_names: the one label that belongs to it, as a list; by default the first.
        head: the operator that made the output: 'MakeLoss' (also for any array of losses), 'SoftmaxOutput' or
            'centerloss'.
        report: 'item', the mean over all items.
        options: attributes of the operator; see `Metric` for the rest.

    Examples:
        >>> loss = Loss('hinge', output_names=['hinge'])
        >>> loss.update_dict({}, {'hinge': mx.nd.array([1, 2, 3]), 'other': mx.nd.array([9])})
        >>> loss.update_dict({}, {'hinge': mx.nd.array([6]), 'other': mx.nd.array([9])})
        >>> loss.get()
        ('hinge', 3.0)
    """

    def __init__(self, name="loss", output_names=None, label_names=None, *, head="MakeLoss", report="item",
                 nan="raise", wait_every=16, **options):
        self.report = _check.choice(name, "report", report, ("item",))
        self.head = HEADS[_check.choice(name, "head", head, tuple(HEADS))](name, **options)
        super().__init__(name, output_names, label_names, nan=nan, wait_every=wait_every, head=head, report=report,
                         **options)

    def state(self, labels, preds):
        (out,) = preds
        label = self.checked_label(self.head, labels, out)
        total, count = self.head.sums(out, label)
        return [total * self.head.scale, count]

    def read(self, sums):
        total, count = sums
        return float(total / count) if count else float("nan")
