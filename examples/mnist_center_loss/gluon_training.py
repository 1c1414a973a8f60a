"""Train the same networks in Gluon, from the same weights, under the same names."""
import mxnet as mx
from mxnet import autograd, gluon
from mxnet.gluon import nn
from mxnet.model import BatchEndParam

import mxloss

from .network import NUM_CLASS
from .progress import EpochBar, values
from .training import batch_count, batches, watched


def lenet():
    """As `network.lenet`."""
    body = nn.HybridSequential(prefix="")
    for number, channels in ((1, 20), (2, 50)):
        body.add(nn.Conv2D(channels, 5, activation="tanh", prefix="conv{}_".format(number)), nn.MaxPool2D())
    body.add(nn.Dense(500, activation="tanh", prefix="full_"))
    return body


def mlp():
    """As `network.mlp`."""
    body = nn.HybridSequential(prefix="")
    for number, units in ((1, 128), (2, 64)):
        body.add(nn.Dense(units, activation="tanh", prefix="full{}_".format(number)))
    return body


NETWORKS = {"lenet": lenet, "mlp": mlp}


class Digits(gluon.HybridBlock):
    """Images to scores, ``(batch, 10)``, and the embedding, ``(batch, 2)``."""

    def __init__(self, network):
        super().__init__(prefix="")
        self.body = NETWORKS[network]()
        self.embedding = nn.Dense(2, prefix="embedding_")
        self.scores = nn.Dense(NUM_CLASS, prefix="scores_")

    def hybrid_forward(self, F, image):
        """The scores and the embedding."""
        embedding = self.embedding(self.body(image))
        return self.scores(embedding), embedding


def train(name, net, label_names, data, settings, epochs, stop, store, *, network, center_loss=None):
    """Train a network with `mxloss.train_step`; the arguments and the result are those of `training.train`.

    Args:
        network: one of `NETWORKS`.
        center_loss: a CenterLoss block, the one in `net`, or None where there is none.
    """
    train_data = batches(data.train_image, data.train_label, label_names[:1], settings, shuffle=True)
    test_data = batches(data.test_image, data.test_label, label_names[:1], settings)
    count = batch_count(len(data.train_label), settings.batch_size, len(settings.contexts))
    block, losses = Digits(network), _losses(center_loss)
    _initialize([block, losses], _initial_params(net, label_names, data, settings), settings.contexts)
    parameters = {**block.collect_params(), **losses.collect_params()}
    for key, parameter in parameters.items():
        if key.endswith("_bias"):
            parameter.wd_mult = 0  # as Module has it
    trainer = gluon.Trainer(parameters, "withcenters", settings.optimizer_params(count), kvstore=store,
                            update_on_kvstore=None if isinstance(store, str) else False)
    divisor = train_data.provide_data[0].shape[0] * settings.workers.count  # as Module has it
    metric, bar = _metric(losses), EpochBar(name, settings.epochs, count)
    with watched(name, bar):
        for epoch in range(settings.epochs):
            metric.reset()
            for number, batch in enumerate(train_data):
                step = mxloss.train_step(block, losses, trainer, batch, outputs=(0,), batch_size=divisor)
                _update(metric, batch.label[0], step)
                bar(BatchEndParam(epoch, number, metric, {}))
                stop()
            arg_params, aux_params = _params(net, parameters)
            epochs.trained(epoch + 1, arg_params, aux_params, values(metric))
            metric.reset()
            for batch in test_data:
                _update(metric, batch.label[0], _evaluate(block, losses, batch, settings.contexts[0]))
                stop()
            epochs.tested(epoch + 1, values(metric))
    return arg_params, aux_params


def _losses(center_loss):
    losses = {"softmax_loss": gluon.loss.SoftmaxCrossEntropyLoss()}
    if center_loss is not None:
        losses["center_loss"] = center_loss
    return mxloss.LossGroup(losses, outputs={"center_loss": 1} if center_loss is not None else None)


def _metric(losses):
    """The numbers that `from_symbol` gives for the same network, by the same names."""
    names = list(losses.weights)
    return mxloss.metric.Group(
        [mxloss.metric.Accuracy(output_names=["scores"], label_names=["label"])]
        + [mxloss.metric.Loss(name, output_names=[name]) for name in names], total=names)


def _update(metric, label, step):
    metric.update({"label": label}, {"scores" if key == 0 else key: array for key, array in step.items()})


def _evaluate(block, losses, batch, context):
    """The losses and the scores of a batch, as `train_step` gives them, without a step."""
    with autograd.predict_mode():
        outputs = block(batch.data[0].as_in_context(context))
        _, parts = losses(outputs, batch.label[0].as_in_context(context))
    return dict(parts, scores=outputs[0])


def _initial_params(net, label_names, data, settings):
    """The weights that `Module.fit` would start from."""
    module = mx.mod.Module(net, label_names=label_names)
    shapes = batches(data.train_image[:2], data.train_label[:2], label_names, settings._replace(contexts=[mx.cpu()]))
    module.bind(shapes.provide_data, shapes.provide_label)
    mx.random.seed(settings.seed)
    module.init_params(mx.init.Xavier())
    arg_params, aux_params = module.get_params()
    return {**arg_params, **aux_params}


def _initialize(blocks, params, contexts):
    for block in blocks:
        block.initialize(ctx=contexts)
        block.hybridize()
        for key, parameter in block.collect_params().items():
            parameter.set_data(params[key])


def _params(net, parameters):
    """The parameters as `Module.get_params` gives them."""
    arrays = {key: parameter.list_data()[0].copyto(mx.cpu()) for key, parameter in parameters.items()}
    return [{key: arrays[key] for key in names if key in arrays}
            for names in (net.list_arguments(), net.list_auxiliary_states())]
