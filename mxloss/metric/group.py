"""Several metrics that are read as one."""
import mxnet as mx

from .. import _check
from .base import Metric, parts, register


@register
class Group(mx.metric.CompositeEvalMetric):
    """Several metrics over named outputs, and the sum of some of them as ``total_loss``.

    Args:
        metrics: the metrics, or what `mx.metric.create` makes them from.
        name: the name of the group.
        output_names: what the outputs of a plain `update` are, in order.
        label_names: what the labels of a plain `update` are, in order.
        shown: outputs that show a variable, by its name: where to find a label that is not among the labels.
        total: names of the metrics whose sum is ``total_loss``; no sum if there are less than two.
    """

    def __init__(self, metrics=None, name="group", output_names=None, label_names=None, *, shown=None, total=()):
        super().__init__(None, name, output_names, label_names)
        self.shown = dict(shown or {})
        self.metrics, self.total = [], []
        for metric in metrics or []:
            self.add(metric)
        names = [metric.name for metric in self.metrics]
        self.total = _check.names(name, "total", total, names)
        if len(self.total) > 1 and "total_loss" in names:
            _check.fail(self.name, "name", "another one than that of the sum", "total_loss")

    def add(self, metric):
        """Add a metric, whose name must be new."""
        metric = mx.metric.create(metric)
        known = [name for name, _ in self.get_name_value()]
        for name, _ in metric.get_name_value():
            if name in known:
                _check.fail(self.name, "name", "another one for each metric", name)
        self.metrics.append(metric)

    def update_dict(self, labels, preds):
        """Take in one device's part of a batch: arrays by name."""
        self._update_part(labels, preds, 0)

    def update(self, labels, preds):
        """Take in a batch: arrays or lists over devices, in the order of the names or as dicts by name."""
        for part, named in enumerate(parts(self.name, labels, self.label_names, preds, self.output_names)):
            self._update_part(*named, part)

    def _update_part(self, labels, preds, part):
        labels, preds = self._with_shown(labels, preds)
        own = [metric for metric in self.metrics if isinstance(metric, Metric)]
        prepared = [metric.prepared(labels, preds, part) for metric in own]  # an error of one leaves all as they were
        for metric, state in zip(own, prepared):
            metric.keep(state)
        for metric in self.metrics:
            if not isinstance(metric, Metric):
                metric.update_dict(labels, preds)

    def _with_shown(self, labels, preds):
        """As an output, each label that is missing and shown by one; labels are looked up among the outputs too."""
        more = {name: preds[output] for name, output in self.shown.items() if name not in labels and output in preds}
        return labels, dict(preds, **more) if more else preds

    def value(self, labels, preds):
        """The number whose gradient each loss sends, by name, for the arrays of an `update`."""
        found = parts(self.name, labels, self.label_names, preds, self.output_names)
        found = [self._with_shown(*part) for part in found]
        return {metric.name: sum(metric.value(*part) for part in found)
                for metric in self.metrics if metric.name in self.total}

    def merge(self, other):
        """Take in what another group of the same metrics has seen."""
        if not isinstance(other, Group) or other.get_config() != self.get_config():
            _check.fail(self.name, "other", "a group of the same configuration", other)
        for metric, more in zip(self.metrics, other.metrics):
            metric.merge(more)

    def get(self):
        """Names and numbers since `reset_local`."""
        return self._with_total(*super().get())

    def get_global(self):
        """Names and numbers since `reset`."""
        return self._with_total(*super().get_global())

    def _with_total(self, names, values):
        if len(self.total) < 2:
            return names, values
        last = 1 + max(names.index(part) for part in self.total)
        total = sum(values[names.index(part)] for part in self.total)
        return names[:last] + ["total_loss"] + names[last:], values[:last] + [total] + values[last:]

    def get_config(self):
        """What ``mx.metric.create(**config)`` makes the same group from."""
        return dict(super().get_config(), metric="mxloss.Group", shown=self.shown, total=self.total)

    def __str__(self):
        return ", ".join("{} {:.6g}".format(*pair) for pair in self.get_name_value())
