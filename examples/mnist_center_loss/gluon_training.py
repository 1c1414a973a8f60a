"""Train the same networks with Gluon's Estimator, from the same weights, under the same names."""
import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.contrib.estimator import BatchEnd

import mxloss
from mxloss.estimator import Estimator, GradientUpdateHandler

from .network import NUM_CLASS
from .settings import batches


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


def train(name, net, label_names, data, settings, folder, store, *, network, center_loss=None):
    """Train a network with the Estimator; the arguments and the result are those of `training.train`.

    Args:
        network: one of `NETWORKS`.
        center_loss: a CenterLoss block, the one in `net`, or None where there is none.
    """
    train_data = batches(data.train_image, data.train_label, label_names[:1], settings, shuffle=True)
    test_data = batches(data.test_image, data.test_label, label_names[:1], settings)
    block, losses = Digits(network), _losses(center_loss)
    initial = _initial_params(net, label_names, data, settings)
    for part in (block, losses):
        part.initialize(ctx=settings.contexts)
        if settings.hybridize:
            part.hybridize()
        for key, parameter in part.collect_params().items():
            parameter.set_data(initial[key])
    parameters = {**block.collect_params(), **losses.collect_params()}
    for key, parameter in parameters.items():
        if key.endswith("_bias"):
            parameter.wd_mult = 0  # as Module has it
    trainer = gluon.Trainer(parameters, "withcenters", settings.optimizer_params(train_data.num_batch), kvstore=store,
                            update_on_kvstore=None if isinstance(store, str) else False)
    divisor = train_data.provide_data[0].shape[0] * settings.workers.count  # as Module has it, for short batches too
    accuracy = mxloss.metric.Accuracy(output_names=[0], label_names=[0])
    estimator = Estimator(block, losses, [accuracy], trainer=trainer)
    estimator.logger.setLevel("WARNING")
    return estimator.fit(
        train_data, test_data, settings.epochs,
        [GradientUpdateHandler(batch_size=divisor), Interrupt(settings, train_data.num_batch),
         *settings.watchers(mxloss.estimator, folder, name)],
        **settings.fit_options(folder, name, [*losses.weights, "total_loss"]))


class Interrupt(BatchEnd):
    """Interrupts a training where its settings want it."""

    def __init__(self, settings, batches):
        self.settings, self.batches = settings, batches

    def batch_end(self, estimator, *args, **kwargs):
        """Called after each batch."""
        self.settings.interrupt(*estimator.run.last, self.batches)


def _losses(center_loss):
    losses = {"softmax_loss": gluon.loss.SoftmaxCrossEntropyLoss()}
    if center_loss is not None:
        losses["center_loss"] = center_loss
    return mxloss.LossGroup(losses, outputs={"center_loss": 1} if center_loss is not None else None)


def _initial_params(net, label_names, data, settings):
    """The weights that `Module` would start from."""
    module = mx.mod.Module(net, label_names=label_names)
    shapes = batches(data.train_image[:2], data.train_label[:2], label_names, settings._replace(contexts=[mx.cpu()]))
    module.bind(shapes.provide_data, shapes.provide_label)
    mxloss.random.seed(settings.seed)
    module.init_params(mx.init.Xavier())
    arg_params, aux_params = module.get_params()
    return {**arg_params, **aux_params}
