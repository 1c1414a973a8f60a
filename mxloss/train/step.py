"""One training step that hands over the values of its own pass, in Module and in Gluon.

Usage::

    for batch in train:
        values = mxloss.train_minibatch(module, batch, outputs=('softmax', 'center_loss'))

    for batch in train:
        values = mxloss.train_step(net, losses, trainer, batch)      # losses: a LossGroup
"""
import weakref

import mxnet as mx

from .. import _check
from ..estimator import batch as passes
from ..loss.center import class_labels


def train_minibatch(module, batch, outputs=()):
    """Train a `Module` on one batch, and give the named outputs of that very pass.

    Nothing is waited for. MXNet writes the outputs of the next pass into the same arrays: these are copies.

    Args:
        module: a module that is bound for training, with its optimizer initialised.
        batch: `mx.io.DataBatch`.
        outputs: names of the outputs to hand over, with MXNet's ending ``_output`` or without it.

    Returns:
        Dict of arrays by the names given. With several devices, the devices' parts one after the other.

    Raises:
        ValueError: a name that is no output of the network, a label that is no class; nothing has been trained
            then.

    Examples:
        >>> score = mx.sym.FullyConnected(mx.sym.var('data'), num_hidden=1, name='fc')
        >>> module = mx.mod.Module(mx.sym.MakeLoss(score.square(), name='square'), label_names=None)
        >>> module.bind([('data', (2, 3))])
        >>> module.init_params(mx.init.One())
        >>> module.init_optimizer()
        >>> train_minibatch(module, mx.io.DataBatch([mx.nd.ones((2, 3))]), ['square'])['square'].asnumpy()
        array([[9.],
               [9.]], dtype=float32)
    """
    names = [outputs] if isinstance(outputs, str) else outputs
    positions = {name: _position(module.output_names, name) for name in names}
    _check_labels(module, batch)
    module.forward_backward(batch)
    passed = module.get_outputs()
    values = {name: passed[position].copy() for name, position in positions.items()}
    module.update()
    return values


def _check_labels(module, batch):
    """Refuse labels that are no class while Python sees them; what the symbol says is read once a module."""
    if module not in _class_labels:
        _class_labels[module] = class_labels(module.symbol)
    labels = dict(zip([description.name for description in module.label_shapes or ()], batch.label or ()))
    for name, rule in _class_labels[module]:
        if name in labels:
            _check.classes(rule["who"], labels[name].asnumpy(), rule["num_class"], rule["ignore_label"])


_class_labels = weakref.WeakKeyDictionary()


def _position(known, name):
    for ending in ("", "_output", "_loss"):
        if name + ending in known:
            return known.index(name + ending)
    return _check.names("train_minibatch", "outputs", name, known)


def train_step(net, losses, trainer, batch, *, outputs=(), batch_size=None):
    """Train a Gluon network on one batch, and give the losses of that very pass.

    The batch is split over the devices that the network's parameters are on; the forward passes of all devices are
    started before the first backward pass. Nothing is waited for.

    Args:
        net: a block, called with the arrays of ``batch.data``.
        losses: a `LossGroup`, or one loss block, called with what the network returns and the labels.
        trainer: `gluon.Trainer` of the parameters of the network and of the losses.
        batch: `mx.io.DataBatch`, or a pair of data and label, each an array or a list of them.
        outputs: which outputs of the network to hand over beside the losses, by index or key.
        batch_size: what the step is divided by; the samples of `batch` by default. With several workers it has to be
            the same number on all of them, that of the samples of all.

    Returns:
        Dict of the losses by name, each ``(batch,)``, times its weight; with one loss block, its name is 'loss'. The
        outputs that were asked for stand in it by their index or key.

    Raises:
        ValueError: fewer samples than devices, or an output that is not there; no weight has moved then.

    Examples:
        >>> net, losses = mx.gluon.nn.Dense(1, in_units=2), mx.gluon.loss.L2Loss()
        >>> net.initialize(mx.init.One())
        >>> trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
        >>> data, label = mx.nd.array([[1, 2], [2, 2]]), mx.nd.array([1, 1])
        >>> train_step(net, losses, trainer, (data, label))['loss'].asnumpy()
        array([2. , 4.5], dtype=float32)
    """
    devices = _devices(net)
    size = len(passes.arrays(batch)[0][0])
    if size < len(devices):
        _check.fail("train_step", "batch", "at least {} samples, one for each device".format(len(devices)), size)
    divisor = size if batch_size is None else _check.integer("train_step", "batch_size", batch_size, low=1)
    parts = passes.forward("train_step", net, losses, batch, devices)
    named = passes.PartLosses(parts).named
    for key in outputs:
        _check.names("train_step", "outputs", [key], named[0][1])
    passes.backward(parts)
    trainer.step(divisor)
    return {name: mx.nd.concat(*[values[name].detach().as_in_context(devices[0]) for _, values in named], dim=0)
            for name in [*parts[0].losses, *outputs]}


def _devices(net):
    """The devices that the parameters of a network are on."""
    for parameter in net.collect_params().values():
        return parameter.list_ctx()
    return [mx.current_context()]
