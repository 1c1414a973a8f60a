"""A network with two outputs, losses on both, and data whose last batch is uneven."""
import mxnet as mx
import numpy as np
from mxnet import gluon

import mxloss


class TwoOutputs(gluon.HybridBlock):
    def __init__(self, dropout=0.0, **options):
        super().__init__(**options)
        with self.name_scope():
            self.embedding = gluon.nn.Dense(4, activation="tanh", in_units=3)
            self.dropout = gluon.nn.Dropout(dropout)
            self.classes = gluon.nn.Dense(3, in_units=4)

    def hybrid_forward(self, F, x):
        embedding = self.embedding(x)
        return self.classes(self.dropout(embedding)), embedding


class Distance(gluon.loss.Loss):
    """A loss with a parameter of its own: the distance to a learned point."""

    def __init__(self, **options):
        super().__init__(1.0, 0, **options)
        self.point = self.params.get("point", shape=(1, 4), init=mx.init.One())

    def hybrid_forward(self, F, x, point):
        return F.broadcast_sub(x, point).square().sum(axis=1) / 2


def contexts(devices):
    return [mx.cpu(i) for i in range(devices)]


def network(devices=1, hybridize=False, dropout=0.0, seed=5):
    """Network and losses with the same numbers in every call."""
    net = TwoOutputs(dropout, prefix="net_")
    losses = mxloss.LossGroup({"softmax": gluon.loss.SoftmaxCELoss(), "distance": Distance(prefix="distance_")},
                              outputs={"distance": 1}, labels={"distance": None}, weights={"distance": 0.1})
    draw = np.random.RandomState(seed)
    for block in (net, losses):
        block.initialize(ctx=contexts(devices))
        for parameter in block.collect_params().values():
            parameter.set_data(mx.nd.array(draw.randn(*parameter.shape)))
        if hybridize:
            block.hybridize()
    return net, losses


def trainer(net, losses, optimizer="sgd", kvstore="device", update_on_kvstore=None, **options):
    options = options or {"learning_rate": 0.1, "momentum": 0.9}
    return gluon.Trainer({**net.collect_params(), **losses.collect_params()}, optimizer, options, kvstore=kvstore,
                         update_on_kvstore=update_on_kvstore)


def estimator(devices=1, hybridize=False, dropout=0.0, update_on_kvstore=None, **options):
    """An Estimator that logs nothing."""
    net, losses = network(devices, hybridize, dropout)
    made = mxloss.estimator.Estimator(net, losses, trainer=trainer(net, losses, update_on_kvstore=update_on_kvstore),
                                      **options)
    made.logger.handlers.clear()
    return made


def samples(count, seed=7):
    draw = np.random.RandomState(seed)
    return draw.randn(count, 3).astype("float32"), draw.randint(0, 3, count).astype("float32")


def loader(count, batch_size, **options):
    return gluon.data.DataLoader(gluon.data.ArrayDataset(*samples(count)), batch_size, **options)


def numbers(made):
    """All parameters of an estimator's network and losses, device by device."""
    parameters = {**made.net.collect_params(), **made.loss.collect_params()}
    return {name: [array.asnumpy() for array in parameter.list_data()] for name, parameter in parameters.items()}


def assert_same(one, other, **tolerance):
    assert list(one) == list(other)
    for name in one:
        for a, b in zip(one[name], other[name]):
            np.testing.assert_allclose(a, b, err_msg=name, **(tolerance or {"rtol": 0, "atol": 0}))
