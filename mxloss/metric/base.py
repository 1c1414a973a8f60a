"""What every metric shares: arrays found by name, sums that stay on their device, local and global windows."""
import warnings

import mxnet as mx
import numpy as np

from .. import _check
from ..operator import explained


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
        """The number, from all sums."""
        raise NotImplementedError

    def update_dict(self, labels, preds):
        """Take in one device's part of a batch: arrays by name."""
        self.update_part(labels, preds, 0)

    def update(self, labels, preds):
        """Take in a batch: arrays, lists of arrays over devices, or dicts of either by name."""
        for part, named in enumerate(parts(self.name, labels, self.label_names, preds, self.output_names)):
            self.update_part(*named, part)

    def update_part(self, labels, preds, part):
        """Take in the arrays of one device, which are number `part` of one call."""
        self._raise_failure()
        preds_used = _picked(self.name, "output_names", self.output_names, preds)
        state = self.state(self._labels(labels, preds), preds_used)
        device = (preds_used[0].context, part)
        if device in self._devices or not self._pending:
            self._devices = set()
            self._pending.append([])
            if len(self._pending) > self.wait_every:
                self._fold(self.wait_every // 2)  # not down to nothing: the engine always has work left
        self._devices.add(device)
        self._pending[-1].append(state)

    def _labels(self, labels, preds):
        """Pairs of a label and whether Python holds it; one that the network made would have to be waited for."""
        if self.label_names is None:
            return [(label, True) for label in labels.values()]
        known = list(labels) + [name for name in preds if name not in labels]
        _check.names(self.name, "label_names", self.label_names, known)
        return [(labels[name], True) if name in labels else (preds[name], False) for name in self.label_names]

    def checked_label(self, head, labels, out):
        """The first label, on the device of `out`; None if there is none and the head needs none."""
        if not labels:
            if head.needs_label:
                _check.fail(self.name, "labels", "given: it needs one", "none")
            return None
        label, held = labels[0]
        if held:
            head.check(out, label.asnumpy())
        return label.as_in_context(out.context)

    def _fold(self, leave=0):
        """Wait for all batches but the newest `leave`, and add them to the windows."""
        self._raise_failure()
        if not leave:
            self._devices = set()
        try:
            while len(self._pending) > leave:
                with explained():
                    states = [[_host(entry) for entry in state] for state in self._pending.pop(0)]
                sums = states[0]
                for state in states[1:]:
                    sums = [a + b for a, b in zip(sums, state)]
                self._check_finite(sums)
                self._batch += 1
                sums = self.reduce(sums)
                self._local = sums if self._local is None else self.add(self._local, sums)
                self._global = sums if self._global is None else self.add(self._global, sums)
        except Exception as failure:  # the engine tells it once, and what is read afterwards is not to be trusted
            self._failure = failure
            raise

    def _raise_failure(self):
        if self._failure is not None:
            raise self._failure

    def _check_finite(self, sums):
        for entry in sums:
            if not np.isfinite(entry).all():
                wrong = float(entry[~np.isfinite(entry)][0])
                if self.nan == "raise":
                    _check.fail(self.name, "batch {}".format(self._batch), "finite", wrong)
                warnings.warn("{}: batch {} is {}".format(self.name, self._batch, wrong), stacklevel=4)
                return

    def get(self):
        """Name and number of the batches since `reset_local`."""
        self._fold()
        return self._named(self._local)

    def get_global(self):
        """Name and number of the batches since `reset`."""
        self._fold()
        return self._named(self._global)

    def _named(self, sums):
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

    def __getstate__(self):
        self._fold()
        return self.__dict__


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


def _picked(who, argument, names, arrays):
    if names is None:
        return list(arrays.values())
    return [arrays[name] for name in _check.names(who, argument, names, arrays)]


def _host(entry):
    return np.asarray(entry.asnumpy() if isinstance(entry, mx.nd.NDArray) else entry, dtype=np.float64).squeeze()
