"""When a training is over before its last epoch: at a target, without progress, at NaN, at a signal.

Usage::

    outcome = mxloss.fit(module, train, validation, num_epoch=100, stop=[
        mxloss.stop.Target('center_loss', 0.05, direction='min', every=50),         # mean of 50 batches
        mxloss.stop.Target('accuracy', 0.99, direction='max', data='validation', patience=2),
        mxloss.stop.Plateau('total_loss', direction='min', patience=5),
        mxloss.stop.NotFinite()])
    outcome.reason, outcome.epoch, outcome.batch, outcome.name, outcome.value
"""
import copy
import math
import signal
import threading
from typing import NamedTuple, Optional

import mxnet as mx
import numpy as np

from . import _check
from .checkpoint import metric_state, restore_metric

SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))


class Outcome(NamedTuple):
    """Where and why a training ended."""

    #: 'end' (all epochs are done), 'target', 'plateau', 'not_finite', 'signal', 'worker' (another one had a reason)
    reason: str
    epoch: Optional[int]  #: of the last batch that was trained, from 0; None if none was
    batch: Optional[int]  #: number of that batch in its epoch, from 0
    name: Optional[str] = None  #: of the value that decided
    value: Optional[float] = None  #: what it was
    data: Optional[str] = None  #: 'train' or 'validation'
    signal: Optional[int] = None  #: number of the signal

    @property
    def exit_code(self):
        """What a command that was ended like this exits with: 128 + the signal, else 0."""
        return 0 if self.signal is None else 128 + self.signal


class Criterion:
    """What `Target`, `Plateau` and `NotFinite` share: which values they look at, and when.

    Args:
        data: 'train' or 'validation', whose values exist once an epoch only.
        every: 'batch', each batch by itself; a whole number n, the batches n by n from the start of each epoch, what
            is left of an epoch not counted; 'epoch', the whole epoch.
    """

    reason = None
    names = ()

    def __init__(self, data, every):
        who = type(self).__name__
        self.data = _check.choice(who, "data", data, ("train", "validation"))
        if every not in ("batch", "epoch"):
            every = _check.integer(who, "every", every, low=1)
        if data == "validation" and every != "epoch":
            _check.fail(who, "every", "'epoch' where `data` is 'validation'", every)
        self.every = every

    @property
    def batches(self):
        """How many batches there are between two looks, None for an epoch."""
        return {"batch": 1, "epoch": None}.get(self.every, self.every)

    def see(self, values):
        """Name and value that say that it is over, or None: called with a dict of values."""
        raise NotImplementedError

    def settings(self):
        """What tells it from other criteria; nothing if nobody knows: a run that it ended is then resumed with it."""

    def state(self):
        """What has been seen, for a checkpoint."""
        return {}

    def restore(self, state):
        """Go on from what `state` gave."""


class Target(Criterion):
    """A value has reached a target, `patience` times in a row.

    Args:
        name: of a loss or metric.
        value: the target.
        direction: 'min' if the value has to come down to it, 'max' if it has to rise to it.
        data, every: see `Criterion`.
        patience: how many times in a row.

    Examples:
        >>> target = Target('loss', 0.5, direction='min', patience=2)
        >>> [target.see({'loss': loss}) for loss in (0.4, 0.6, 0.5, 0.3)]
        [None, None, None, ('loss', 0.3)]
    """

    reason = "target"

    def __init__(self, name, value, *, direction, data="train", every="epoch", patience=1):
        super().__init__(data, every)
        self.names = (name,)
        self.value = _check.number("Target", "value", value)
        self.direction = _check.choice("Target", "direction", direction, ("min", "max"))
        self.patience = _check.integer("Target", "patience", patience, low=1)
        self._met = 0

    def see(self, values):
        value = values[self.names[0]]
        met = value <= self.value if self.direction == "min" else value >= self.value
        self._met = self._met + 1 if met else 0
        return (self.names[0], value) if self._met >= self.patience else None

    def settings(self):
        return _key(self) + (self.value, self.direction, self.patience)

    def state(self):
        return {"met": self._met}

    def restore(self, state):
        self._met = state["met"]


class Plateau(Criterion):
    """A value has not become better `patience` times in a row.

    Args:
        name: of a loss or metric.
        direction: 'min' if less is better, 'max' if more is.
        patience: how many times in a row.
        min_delta: by how much it has to be better than the best so far to count, >= 0.
        data, every: see `Criterion`.

    Examples:
        >>> plateau = Plateau('loss', direction='min', patience=2)
        >>> [plateau.see({'loss': loss}) for loss in (0.6, 0.5, 0.7, 0.5)]
        [None, None, None, ('loss', 0.5)]
    """

    reason = "plateau"

    def __init__(self, name, *, direction, patience, min_delta=0.0, data="train", every="epoch"):
        super().__init__(data, every)
        self.names = (name,)
        self.direction = _check.choice("Plateau", "direction", direction, ("min", "max"))
        self.patience = _check.integer("Plateau", "patience", patience, low=1)
        self.min_delta = _check.number("Plateau", "min_delta", min_delta, low=0)
        self._best, self._waited = None, 0

    def see(self, values):
        value = values[self.names[0]]
        score = value if self.direction == "min" else -value
        if not math.isnan(score) and (self._best is None or score < self._best - self.min_delta):
            self._best, self._waited = score, 0
        else:
            self._waited += 1
        return (self.names[0], value) if self._waited >= self.patience else None

    def settings(self):
        return _key(self) + (self.direction, self.patience, self.min_delta)

    def state(self):
        return {"best": self._best, "waited": self._waited}

    def restore(self, state):
        self._best, self._waited = state["best"], state["waited"]


class NotFinite(Criterion):
    """A value has become NaN or infinite.

    It looks at the values of the epoch so far, where a NaN stays, and at the parameters whenever they are to be written
    to a checkpoint. A metric of mxloss that raises at NaN, which would end the training without a checkpoint, is made
    to warn instead.

    Args:
        names: of losses or metrics, all by default.
        data, every: see `Criterion`. Looking waits for the devices.

    Examples:
        >>> NotFinite().see({'accuracy': 0.5, 'loss': float('inf')})
        ('loss', inf)
    """

    reason = "not_finite"

    def __init__(self, *names, data="train", every="batch"):
        super().__init__(data, every)
        self.names = names

    def see(self, values):
        for name in self.names or values:
            if not math.isfinite(values[name]):
                return name, values[name]
        return None


class Judge:
    """Shows values to criteria when they are due, for a training loop that calls it.

    The loop calls `begin_epoch`, then for each batch updates its own metric and each of `windows` with the same arrays
    and calls `batch_done`, and at the end of a whole epoch `epoch_done`.

    Args:
        who: on whose behalf errors are told.
        criteria: a criterion, or a list of them, or None.
        metric: `mx.metric.EvalMetric` that the loop updates and resets at the start of an epoch.
        validation: whether there will be validation values.
        validation_metric: what these come from, by default `metric`.

    Raises:
        ValueError: a criterion wants a value that there will not be.
    """

    def __init__(self, who, criteria, metric, *, validation=False, validation_metric=None):
        if criteria is None:
            criteria = []
        criteria = list(criteria) if isinstance(criteria, (list, tuple)) else [criteria]
        for criterion in criteria:
            if not isinstance(criterion, Criterion):
                _check.fail(who, "stop", "Target, Plateau or NotFinite, or a list of them", criterion, TypeError)
            if criterion.data == "validation" and not validation:
                _check.fail(who, "stop", "of train data, where there is no validation data", criterion.data)
            source = metric if criterion.data == "train" else validation_metric or metric
            known = [name for name, _ in source.get_name_value()]
            _check.names(who, "stop", criterion.names, known)
        self.criteria, self._metric = criteria, metric
        if any(isinstance(criterion, NotFinite) for criterion in criteria):
            for source in (metric, validation_metric):
                _warn_only(source)
        self._windows = {}
        for criterion in criteria:
            if criterion.batches and not isinstance(criterion, NotFinite):
                self._windows.setdefault(criterion.batches, copy.deepcopy(metric))
        self._done = 0
        self._ended = None  # the settings of the criterion that ended the training, and the outcome

    @property
    def windows(self):
        """Metrics that have to be updated with each batch."""
        return list(self._windows.values())

    def begin_epoch(self):
        """Called before the first batch of an epoch; then `restore` may follow."""
        self._done = 0
        for window in self.windows:
            window.reset()

    def batch_done(self, epoch, batch):
        """An `Outcome` if the values that are due after this batch say so, else None."""
        self._done += 1
        seen = []
        for criterion in self.criteria:
            if criterion.batches and self._done % criterion.batches == 0:
                if isinstance(criterion, NotFinite):
                    values = self._metric.get_global_name_value()
                else:
                    values = self._windows[criterion.batches].get_name_value()
                seen.append((criterion, dict(values)))
        for size, window in self._windows.items():
            if self._done % size == 0:
                window.reset()
        return self._first(seen, epoch, batch)

    def epoch_done(self, epoch, batch, values):
        """An `Outcome` if the values of the whole epoch say so, else None.

        Args:
            epoch, batch: of the last batch.
            values: dicts of values by 'train' and 'validation'; the latter only if there was a validation.
        """
        return self._first([(criterion, values[criterion.data]) for criterion in self.criteria
                            if not criterion.batches and criterion.data in values], epoch, batch)

    def _first(self, seen, epoch, batch):
        """The outcome of the first criterion that has one; each has to see its values."""
        first = None
        for criterion, values in seen:
            found = criterion.see(values)
            if found and first is None:
                first = Outcome(criterion.reason, epoch, batch, found[0], found[1], criterion.data)
                self._ended = criterion.settings(), first
        return first

    def params_read(self, epoch, batch, params):
        """An `Outcome` if parameters, arrays by name, are not finite and a criterion asks for that, else None."""
        if any(isinstance(criterion, NotFinite) for criterion in self.criteria):
            for name, array in params.items():
                if not np.isfinite(array.asnumpy()).all():
                    return Outcome(NotFinite.reason, epoch, batch, name, math.nan, "train")
        return None

    def state(self):
        """What has been seen so far, for a checkpoint."""
        return {"done": self._done, "criteria": [(_key(criterion), criterion.state()) for criterion in self.criteria],
                "windows": {size: metric_state(window) for size, window in self._windows.items()}, "ended": self._ended}

    def restore(self, state):
        """Go on from what `state` gave; a criterion that was not there starts anew.

        Returns:
            The `Outcome` that has ended the training already, by a criterion that is still there, else None.
        """
        self._done = state["done"]
        left = list(state["criteria"])
        for criterion in self.criteria:
            for entry in left:
                if entry[0] == _key(criterion):
                    criterion.restore(entry[1])
                    left.remove(entry)
                    break
        for size, window in self._windows.items():
            if size in state["windows"]:
                restore_metric(window, state["windows"][size])
        settings, outcome = state["ended"] or (None, None)
        known = [criterion.settings() for criterion in self.criteria]
        return outcome if settings is not None and settings in known else None


def _key(criterion):
    return type(criterion).__name__, criterion.names, criterion.data, criterion.every


def _warn_only(metric):
    if isinstance(metric, mx.metric.CompositeEvalMetric):
        for part in metric.metrics:
            _warn_only(part)
    elif getattr(metric, "nan", None) == "raise":
        metric.nan = "warn"


class Signals:
    """Notes SIGINT and SIGTERM instead of letting them end the process; a second one acts as it did before.

    Args:
        enabled: whether to do anything.

    Attributes:
        caught: number of the signal, None as long as there is none.

    Raises:
        ValueError: this is not the main thread, the only one that Python lets handle signals.

    Examples:
        >>> with Signals(True) as signals:
        ...     signal.raise_signal(signal.SIGTERM)
        >>> signals.caught == signal.SIGTERM
        True
    """

    def __init__(self, enabled):
        self.enabled, self.caught, self._before = enabled, None, {}
        if enabled and threading.current_thread() is not threading.main_thread():
            _check.fail("fit", "stop_on_signal", "False outside the main thread", True)

    def __enter__(self):
        if self.enabled:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *error):
        self._put_back()

    def _catch(self, number, frame):
        self.caught = number
        self._put_back()

    def _put_back(self):
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
