"""What every metric shares: arrays found by name, sums that stay on their device, local and global windows."""
import warnings

import mxnet as mx
import numpy as np

from .. import _check
from ..operator import explained
from .head import HEADS


def register(metric_class):
    """Let `mx.metric.create` find `metric_class` as ``mxloss.<class name>``, any case, beside MXNet's own metrics."""
    mx.metric.register(metric_class, "mxloss." + metric_class.__name__)
    return metric_class


class Metric(mx.metric.EvalMetric):
    """A number that is read from a few sums over the items of a data set.

    A subclass says three things: `state` makes the sums of one device's part of a batch, `reduce` turns the sums of a
    whole batch into what is added up, `read` turns what was added up into the number. Sums are kept as arrays on
    their device and awaited when the number is asked for, or when more than `wait_every` batches have gathered: so the
    host never runs far ahead, and an error of the engine is read.

    A batch ends when a device comes round again, for Module calls `update_dict` once per device.

    Args:
        name: the name of the number.
        output_names: names of the outputs that it is read from; all of them by default.
        label_names: names of the labels that it is read from, first among the labels and then among the outputs; all
            labels by default.
        nan: what to do about a batch whose sums are not finite, ``'raise'`` or ``'warn'``.
        wait_every: how many batches may gather before the metric waits for them, at least 1.
    """

    reads = 1  # outputs

    def __init__(self, name, output_names=None, label_names=None, *, nan="raise", wait_every=16, **config):
        self.nan = _check.choice(name, "nan", nan, ("raise", "warn"))
        self.wait_every = _check.integer(name, "wait_every", wait_every, low=1)
        super().__init__(name, output_names, label_names, has_global_stats=True,
                         nan=nan, wait_every=wait_every, **config)

    def state(self, labels, preds):
        """Sums of one device's part of a batch: a list of numbers and arrays, the same for every part."""
        raise NotImplementedError

    def reduce(self, sums):
        """What a whole batch adds to the windows, from its sums over the devices."""
        return sums

    def add(self, one, other):
        """The sums of two sets of batches together."""
        return [a + b for a, b in zip(one, other)]

    def read(self, sums):
        """The number, from all sums: a mean, if they are a total and a count."""
        total, count = sums
        return float(total / count) if count else float("nan")

    def merge(self, other):
        """Take in what another metric of the same configuration has seen, of another worker for example."""
        if not isinstance(other, Metric) or other.get_config() != self.get_config():
            _check.fail(self.name, "other", "a metric of the same configuration", other)
        self._fold()
        other._fold()
        self._local = self._sum(self._local, other._local)
        self._global = self._sum(self._global, other._global)

    def _sum(self, one, other):
        if one is None or other is None:
            return other if one is None else one
        return self.add(one, other)

    def update_dict(self, labels, preds):
        """Take in one device's part of a batch: arrays by name."""
        self.update_part(labels, preds, 0)

    def update(self, labels, preds):
        """Take in a batch: arrays, lists of arrays over devices, or dicts of either by name."""
        for part, named in enumerate(parts(self.name, labels, self.label_names, preds, self.output_names)):
            self.update_part(*named, part)

    def update_part(self, labels, preds, part):
        """Take in the arrays of one device, which are number `part` of one call."""
        self.keep(self.prepared(labels, preds, part))

    def prepared(self, labels, preds, part):
        """Device and state of arrays that are all right; changes nothing."""
        self._raise_failure()
        used_labels, used = self.found(labels, preds)
        return (used[0].context, part), self.state(used_labels, used)

    def keep(self, prepared):
        """Take in what `prepared` gave."""
        device, state = prepared
        if device in self._devices or not self._devices:  # a new batch
            if len(self._pending) >= self.wait_every:
                self._fold(self.wait_every // 2)  # not down to nothing: so the engine always has work left
            self._devices = set()
            self._pending.append([])
        self._devices.add(device)
        self._pending[-1].append(state)

    def found(self, labels, preds):
        """The labels, each with whether Python holds it, and the outputs that the metric is read from."""
        return self._labels(labels, preds), self._outputs(preds)

    def _outputs(self, preds):
        names = list(preds) if self.output_names is None else self.output_names
        if len(names) != self.reads:  # a network has more outputs than one, and nobody said which
            _check.fail(self.name, "output_names", "of {} output{}".format(self.reads, "s"[:self.reads - 1]), names)
        return [preds[name] for name in _check.names(self.name, "output_names", names, preds)]

    def _labels(self, labels, preds):
        # To look at a label that the network made, Python would have to wait for the batch.
        if self.label_names is None:
            return [(label, True) for label in labels.values()]
        for name in self.label_names:
            if name not in labels and name not in preds:
                _check.fail(self.name, "label_names", "among the labels ({}) or the outputs ({}), where a network"
                            " shows labels of its own as BlockGrad(label)".format(
                                ", ".join(labels) or "none", ", ".join(preds)), name)
        return [(labels[name], True) if name in labels else (preds[name], False) for name in self.label_names]

    def _fold(self, leave=0):
        """Wait for all batches but the newest `leave`, and add them to the windows."""
        self._raise_failure()
        if not leave:
            self._devices = set()  # whatever comes next belongs to a new batch
        try:
            while len(self._pending) > leave:
                with explained():
                    states = [[host(entry) for entry in state] for state in self._pending.pop(0)]
                sums = states[0]
                for state in states[1:]:
                    sums = [a + b for a, b in zip(sums, state)]
                self._check_finite(sums)
                sums = self.reduce(sums)
                self._batch += 1
                self._local, self._global = self._sum(self._local, sums), self._sum(self._global, sums)
        except Exception as failure:  # the engine tells it once, and what is read afterwards is not to be trusted
            self._failure = failure
            raise

    def _raise_failure(self):
        if self._failure is not None:
            raise self._failure

    def _check_finite(self, sums):
        for entry in sums:
            if not np.isfinite(entry).all():
                wrong = float(entry[~np.isfinite(entry)].reshape(-1)[0])
                if self.nan == "raise":
                    _check.fail(self.name, "batch {}".format(self._batch), "finite", wrong)
                warnings.warn("{}: batch {} is {}".format(self.name, self._batch, wrong), stacklevel=5)
                return

    def get(self):
        """Name and number of the batches since `reset_local`."""
        self._fold()
        return self.named(self._local)

    def get_global(self):
        """Name and number of the batches since `reset`."""
        self._fold()
        return self.named(self._global)

    def named(self, sums):
        """Name and number, from all sums; None if there were no batches."""
        return self.name, float("nan") if sums is None else self.read(sums)

    def reset(self):
        """Start anew."""
        self._pending, self._devices, self._batch, self._failure = [], set(), 0, None
        self._local = self._global = None

    def reset_local(self):
        """Start a new window, and keep what `get_global` gives."""
        self._fold()
        self._local = None

    def get_config(self):
        """What ``mx.metric.create(**config)`` makes the same metric from."""
        return dict(super().get_config(), metric="mxloss." + type(self).__name__)

    def __str__(self):
        return ", ".join("{} {:.6g}".format(*pair) for pair in self.get_name_value())

    def __getstate__(self):
        self._fold()
        return self.__dict__


class HeadMetric(Metric):
    """A metric over the output of one head and its label.

    Args:
        head: the operator that made the output.
        config: arguments of the subclass that `get_config` gives back.
        output_ops: operators to apply to the output, as lists of a name and its attributes, before the head sees it.
        label_ops: the same for the label.
        reshaped: whether the output differs from the head's in shape, though not in order.
        options: attributes of the operator.
    """

    def __init__(self, name, output_names, label_names, *, head, config, output_ops=(), label_ops=(), reshaped=False,
                 nan="raise", wait_every=16, **options):
        self.head = HEADS[_check.choice(name, "head", head, tuple(HEADS))](name, reshaped, **options)
        self.output_ops, self.label_ops = [list(op) for op in output_ops], [list(op) for op in label_ops]
        super().__init__(name, output_names, label_names, nan=nan, wait_every=wait_every, output_ops=self.output_ops,
                         label_ops=self.label_ops, reshaped=reshaped, **config, **options)

    def fitted(self, labels, preds):
        """Output and label as the head takes them, label None if there is none; the number of labels that are wrong."""
        out = _applied(self.output_ops, preds[0])
        if not labels:
            if self.head.needs_label:
                _check.fail(self.name, "labels", "given", "none")
            return out, None, 0
        given, held = labels[0]
        label = given
        if self.head.needs_label:
            label = _applied(self.label_ops, given.as_in_context(out.context))
            out, label = self.head.fitted(out, label)
        if held and not (self.label_ops and label.shape == out.shape):
            self.head.check(out, given.asnumpy().reshape(label.shape))
            return out, label, 0
        return out, label, self.head.misfits(out, label)

    def reduce(self, sums):
        if sums[-1]:
            _check.fail(self.name, "label", "one that has a loss", int(sums[-1]),
                        where=" that have none in batch {}".format(self._batch))
        return sums[:-1]


def _applied(operators, array):
    for name, attributes in operators:
        array = getattr(mx.nd, name)(array, **attributes)
    return array


def parts(who, labels, label_names, preds, output_names):
    """The arrays of a plain `update` as pairs of dicts by name, one pair per device."""
    labels, preds = _by_device(who, "labels", labels, label_names), _by_device(who, "preds", preds, output_names)
    if not labels:
        labels = [{}] * len(preds)
    if len(labels) != len(preds):
        _check.fail(who, "labels", "of as many devices as preds, {}".format(len(preds)), len(labels))
    return list(zip(labels, preds))


def _by_device(who, what, arrays, names):
    if isinstance(arrays, dict):
        names, arrays = list(arrays), list(arrays.values())
    elif isinstance(arrays, mx.nd.NDArray):
        arrays = [arrays]
    elif not isinstance(arrays, (list, tuple)):
        return []
    elif arrays and isinstance(arrays[0], dict):
        return list(arrays)
    elif names is None or len(names) == 1:
        arrays = [arrays]
    names = range(len(arrays)) if names is None else names
    if len(names) != len(arrays):
        _check.fail(who, what, "{}, one for each of {}".format(len(names), ", ".join(map(repr, names))), len(arrays))
    devices = [[array] if isinstance(array, mx.nd.NDArray) else array for array in arrays]
    return [dict(zip(names, device)) for device in zip(*devices)]


def host(entry):
    """A number or array on the host, in float64; waits for it."""
    array = np.asarray(entry.asnumpy() if isinstance(entry, mx.nd.NDArray) else entry, dtype=np.float64)
    return array.reshape(()) if array.size == 1 else array
