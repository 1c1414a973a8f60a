"""One batch on several devices: passes of a network and its losses, with every value by name."""
import collections

import mxnet as mx
from mxnet import autograd, gluon
from mxnet.gluon.contrib import estimator as stock

from .. import _check
from ..loss import LossGroup, Penalized

Part = collections.namedtuple("Part", ["data", "labels", "outputs", "total", "losses"])
Part.__doc__ = """One device's part of a batch: inputs, labels, what the network returned, total and losses by name."""


class PartLosses(list):
    """The total of each device, ``(part of the batch,)``, and as `named` what metrics find by name.

    Attributes:
        names: the names of the losses.
        named: for each device a pair of dicts: labels, and outputs and losses with their sum ``total_loss``. Outputs
            and labels are named as in a `LossGroup`, by index or key.
    """

    def __init__(self, parts):
        super().__init__(part.total for part in parts)
        self.names = list(parts[0].losses)
        self.named = [(_named(part.labels), _with_losses(part)) for part in parts]


class BatchProcessor(stock.BatchProcessor):
    """Train and evaluate a network with several outputs and named losses, on a batch of any size.

    The batch is split over the devices; those for which no sample is left contribute nothing. The forward passes of
    all devices are started before the first backward pass. What `fit_batch` and `evaluate_batch` return as loss is a
    `PartLosses`, a list that MXNet's own handlers take as well.

    Args:
        losses: the `LossGroup` of training, and of validation unless the estimator has another.

    Examples:
        >>> net = mx.gluon.nn.Dense(1, in_units=2)
        >>> losses = mxloss.LossGroup({'squared': mx.gluon.loss.L2Loss(), 'absolute': mx.gluon.loss.L1Loss()})
        >>> processor = BatchProcessor(losses)       # for MXNet's Estimator; mxloss.estimator.Estimator has one already
    """

    def __init__(self, losses):
        super().__init__()
        if not isinstance(losses, LossGroup):
            _check.fail("BatchProcessor", "losses", "a LossGroup", losses, TypeError)
        self.losses = losses

    def fit_batch(self, estimator, train_batch, batch_axis=0):
        """Forward and backward of a batch; the step is the `GradientUpdateHandler`'s."""
        parts = forward("fit_batch", estimator.net, self.losses, train_batch, estimator.context, batch_axis)
        backward(parts)
        if len(parts) < len(estimator.context):
            parameters = {**estimator.net.collect_params(), **self.losses.collect_params()}
            leave_out(parameters.values(), estimator.context[len(parts):])
        return self._result(parts)

    def evaluate_batch(self, estimator, val_batch, batch_axis=0):
        """Forward of a batch, as in prediction."""
        losses = estimator.val_loss if isinstance(estimator.val_loss, LossGroup) else self.losses
        return self._result(forward("evaluate_batch", estimator.val_net, losses, val_batch, estimator.context,
                                    batch_axis, train=False))

    @staticmethod
    def _result(parts):
        data, labels, outputs, _, _ = zip(*parts)
        return [_alone(each) for each in data], [_alone(each) for each in labels], list(outputs), PartLosses(parts)


def forward(who, net, losses, batch, devices, batch_axis=0, train=True):
    """Run a network and its losses on the part of each device that gets one, as a list of `Part`."""
    data, labels = arrays(batch)
    size = data[0].shape[batch_axis]
    for array in data + labels:
        if array.shape[batch_axis] != size:
            _check.fail(who, "batch", "of {} samples in each array".format(size), array.shape)
    if not size:
        _check.fail(who, "batch", "at least one sample", size)
    used = devices[:size]
    parts = []
    with autograd.record() if train else autograd.predict_mode():
        for inputs, targets in zip(_split(data, used, batch_axis), _split(labels, used, batch_axis)):
            outputs = net(*inputs)
            if isinstance(losses, LossGroup):
                total, named = losses(outputs, targets)
            elif isinstance(outputs, Penalized):
                _check.fail(who, "losses", "a LossGroup, for the network adds penalties", losses, TypeError)
            else:
                total = losses(outputs, *targets)
                named = {"loss": total}
            parts.append(Part(inputs, targets, outputs, total, named))
    return parts


def backward(parts):
    """Compute the gradients of all parts."""
    autograd.backward([part.total for part in parts])


def leave_out(parameters, devices):
    """Let devices that had no sample contribute nothing to the next step."""
    for parameter in parameters:
        if parameter.grad_req == "null":
            continue
        for device in devices:
            if parameter.grad_req == "write":  # what was added up before stays
                gradient = parameter.grad(device)
                mx.nd.zeros_like(gradient, out=gradient)
            parameter.data(device)._fresh_grad = True  # else Trainer takes it for a forgotten parameter


def arrays(batch):
    """The inputs and the labels of a batch: a DataBatch, an array, or a list: data first, then the labels."""
    if isinstance(batch, mx.io.DataBatch):
        return _as_list(batch.data), _as_list(batch.label)
    if not isinstance(batch, (list, tuple)):
        return [batch], []
    data, *labels = batch
    return _as_list(data), _as_list(labels[0]) if len(labels) == 1 else labels


def _split(columns, devices, batch_axis):
    """A tuple of arrays for each device."""
    slices = [gluon.utils.split_and_load(column, devices, batch_axis, even_split=False) for column in columns]
    return list(zip(*slices)) if slices else [()] * len(devices)


def _as_list(columns):
    if columns is None:
        return []
    return list(columns) if isinstance(columns, (list, tuple)) else [columns]


def _alone(columns):
    return columns[0] if len(columns) == 1 else columns


def _named(columns):
    if isinstance(columns, dict):
        return dict(columns)
    return dict(enumerate(_as_list(columns)))


def _with_losses(part):
    outputs = _named(part.outputs.outputs if isinstance(part.outputs, Penalized) else part.outputs)
    for name in [*part.losses, "total_loss"]:
        if name in outputs:
            _check.fail("BatchProcessor", "losses", "of other names than the outputs of the network", name)
    return {**outputs, **part.losses, "total_loss": part.total}
