"""Several named losses over the outputs of one network."""
from mxnet import gluon
from mxnet.ndarray import NDArray

from .. import _check
from .penalty import Penalized
from .schedule import PiecewiseLinear, ScheduledWeight, number_or_schedule


class LossGroup(gluon.Block):
    r"""Add up several named losses, each times a weight that may be changed between any two steps.

    .. math:: L_i = \sum_k w_k L_{k,i}

    Args:
        losses: dict of loss blocks by name; each gives one number per sample.
        outputs: dict that says which output of the network a loss is called with, an index or a key, or a tuple of
            them for a loss that takes several; the first output where nothing is said.
        labels: dict that says which label a loss is called with, an index or a key, or None for a loss without a
            label; the first label where nothing is said.
        weights: dict by name of finite numbers, or of schedules (`mxloss.WarmUp`, `mxloss.PiecewiseLinear`), for which
            the group has parameters that the Trainer must have too; 1 where nothing is said.
        penalties: names of penalties that the network has to add, so that they may have a weight. Whatever a
            `WithPenalties` adds joins the total and the parts, named here or not.

    Inputs:
        - **outputs**: what the network returns, an array, or a list, tuple or dict of them; or what a
          `WithPenalties` returns.
        - **labels**: an array, or a list, tuple or dict of them; may be left out where no loss takes a label.

    Outputs:
        - **total**: weighted sum of the losses of each sample, ``(batch,)``.
        - **parts**: dict of the weighted losses by name, each ``(batch,)``: what is reported is what is optimised.

    Raises:
        ValueError: a name, index or key that is not there, or a weight that is neither a finite number nor a schedule.

    Examples:
        >>> losses = LossGroup({'squared': mx.gluon.loss.L2Loss(), 'absolute': mx.gluon.loss.L1Loss()},
        ...                    weights={'absolute': 0.5})
        >>> total, parts = losses(mx.nd.array([[1.], [4.]]), mx.nd.array([[0.], [0.]]))
        >>> total.asnumpy(), parts['absolute'].asnumpy()
        (array([ 1., 10.], dtype=float32), array([0.5, 2. ], dtype=float32))
        >>> losses.set_weight('absolute', 0)
        >>> losses.weights
        {'squared': 1.0, 'absolute': 0.0}
    """

    def __init__(self, losses, *, outputs=None, labels=None, weights=None, penalties=(), prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        if not isinstance(losses, dict) or not losses:
            _check.fail("LossGroup", "losses", "a dict of at least one loss block by name", losses, TypeError)
        for name, loss in losses.items():
            if not isinstance(loss, gluon.Block):
                _check.fail("LossGroup", name, "a loss block", loss, TypeError)
        penalties = [penalties] if isinstance(penalties, str) else list(penalties)
        for argument, given, known in (("outputs", outputs, losses), ("labels", labels, losses),
                                       ("weights", weights, list(losses) + penalties)):
            _check.names("LossGroup", argument, given or (), known)
        _check_new(penalties, losses)
        self._outputs = dict(dict.fromkeys(losses, 0), **(outputs or {}))
        self._labels = dict(dict.fromkeys(losses, 0), **(labels or {}))
        self._penalties = penalties
        self._losses = dict(losses)
        for name, loss in losses.items():
            self.register_child(loss, name)
        self._weights, self._scheduled = dict.fromkeys(list(losses) + penalties, 1.0), {}
        for name, weight in (weights or {}).items():
            self.set_weight(name, weight)

    @property
    def weights(self):
        """The weight of each loss by name, a number or a schedule, as a copy."""
        return dict(self._weights)

    def set_weight(self, name, weight):
        """Let the loss or penalty `name` count `weight` times, a number or a schedule, from the next call on.

        The first schedule of a name brings a parameter along, which has to be initialized and given to the Trainer.
        """
        _check.names("LossGroup", "name", name, self._weights)
        weight = number_or_schedule("LossGroup", "weight of " + name, weight)
        if isinstance(weight, PiecewiseLinear):
            if name in self._scheduled:  # by the same steps from now on
                self._scheduled[name].set_schedule(weight)
            else:
                with self.name_scope():
                    self._scheduled[name] = ScheduledWeight(weight, prefix=name + "_weight_")
                self.register_child(self._scheduled[name], name + ".weight")
        self._weights[name] = weight

    def _weighted(self, name, loss):
        weight = self._weights.get(name, 1.0)
        if not isinstance(weight, PiecewiseLinear):
            return loss * weight
        weighted = self._scheduled[name](loss)
        return weighted.astype(loss.dtype, copy=False) if isinstance(loss, NDArray) else weighted  # all parts alike

    def forward(self, outputs, labels=None):
        """The total and the parts; see the class."""
        penalties = {}
        if isinstance(outputs, Penalized):
            outputs, penalties = outputs
        _check.names("LossGroup", "penalties", self._penalties, penalties)
        _check_new(penalties, self._losses)
        parts = {}
        for name, loss in self._losses.items():
            inputs = [_pick("outputs", outputs, key) for key in _as_tuple(self._outputs[name])]
            if self._labels[name] is not None:
                inputs.append(_pick("labels", labels, self._labels[name]))
            parts[name] = self._weighted(name, loss(*inputs))
            _check_alike(name, parts)
        for name, penalty in penalties.items():
            parts[name] = self._weighted(name, penalty)
            _check_alike(name, parts)
        total = None
        for part in parts.values():
            total = part if total is None else total + part
        return total, parts


def _check_new(penalties, losses):
    for name in penalties:
        if name in losses:
            _check.fail("LossGroup", "penalties", "of other names than the losses", name)


def _check_alike(name, parts):
    """A part of another shape would be broadcast, and then count once for each sample, or each of them for each."""
    first = next(iter(parts.values()))
    if isinstance(first, NDArray):
        _check.shape("LossGroup", name, parts[name].shape, first.shape)


def _as_tuple(key):
    return key if isinstance(key, tuple) else (key,)


def _pick(argument, arrays, key):
    """The array that `key` names among what a network returns or a batch holds."""
    if isinstance(arrays, dict):
        _check.names("LossGroup", argument, [key], arrays)
        return arrays[key]
    if not isinstance(arrays, (list, tuple)):
        arrays = [] if arrays is None else [arrays]
    if not isinstance(key, int) or not 0 <= key < len(arrays):
        _check.fail("LossGroup", argument, "an array for each index that is asked for, {} of them came".format(
            len(arrays)), key)
    return arrays[key]
