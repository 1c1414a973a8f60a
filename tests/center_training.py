"""The oracle's network in MXNet, as a symbol for Module and as a Gluon block, and loops that train them."""
import mxnet as mx
import numpy as np

import mxloss

NUM_CLASS, FEATURE_SIZE, IN, HIDDEN = 7, 3, 5, 6
SHAPES = {"hidden": (HIDDEN, IN), "embedding": (FEATURE_SIZE, HIDDEN), "output": (NUM_CLASS, FEATURE_SIZE)}
#: Uneven on purpose: no number of devices divides all of them, and class 6 is in none of the first three.
SIZES = (12, 12, 7, 12, 9)


def initial_weights(seed=3):
    rng = np.random.RandomState(seed)
    weights = {}
    for layer, shape in SHAPES.items():
        weights[layer + "_weight"] = rng.normal(0, 0.6, shape)
        weights[layer + "_bias"] = rng.normal(0, 0.2, shape[:1])
    return weights


def batches(sizes=SIZES, seed=5, absent=6, until=3):
    """Data and labels, some classes many times in a batch and one not at all in the first batches."""
    rng = np.random.RandomState(seed)
    found = []
    for number, size in enumerate(sizes):
        label = np.minimum(rng.geometric(0.3, size) - 1, NUM_CLASS - 1).astype(float)
        if number < until:
            label[label == absent] = 0
        found.append((rng.normal(0, 1, (size, IN)) + 0.3 * label[:, None], label))
    return found


def symbol(separate=False, **loss):
    """The network as a Group of softmax and center loss, and the block that the loss is made by."""
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    hidden = mx.sym.tanh(mx.sym.FullyConnected(data, num_hidden=HIDDEN, name="hidden"))
    feature = mx.sym.tanh(mx.sym.FullyConnected(hidden, num_hidden=FEATURE_SIZE, name="embedding"))
    output = mx.sym.FullyConnected(feature, num_hidden=NUM_CLASS, name="output")
    block = mxloss.CenterLoss(NUM_CLASS, FEATURE_SIZE, prefix="center_loss_", **loss)
    center = block(feature, mx.sym.var("center_label") if separate else label)
    return mx.sym.Group([mx.sym.SoftmaxOutput(output, label, name="softmax"),
                         mx.sym.MakeLoss(center, name="center_loss")]), block


class Net(mx.gluon.HybridBlock):
    """The network with both losses inside, so that hybridizing it leaves no Python call per batch."""

    def __init__(self, dtype="float64", **loss):
        super().__init__(prefix="")
        with self.name_scope():
            self.hidden = mx.gluon.nn.Dense(HIDDEN, "tanh", in_units=IN, dtype=dtype, prefix="hidden_")
            self.embedding = mx.gluon.nn.Dense(FEATURE_SIZE, "tanh", in_units=HIDDEN, dtype=dtype, prefix="embedding_")
            self.output = mx.gluon.nn.Dense(NUM_CLASS, in_units=FEATURE_SIZE, dtype=dtype, prefix="output_")
            self.softmax_loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
            self.center_loss = mxloss.CenterLoss(NUM_CLASS, FEATURE_SIZE, dtype=dtype, prefix="center_loss_", **loss)

    def hybrid_forward(self, F, data, label, *sample_weight):
        feature = self.embedding(self.hidden(data))
        return self.softmax_loss(self.output(feature), label), self.center_loss(feature, label, *sample_weight)


def devices(number):
    return [mx.cpu(i) for i in range(number)]


def module(number=1, batch_size=SIZES[0], dtype="float64", weights=None, kvstore="device", optimizer="withcenters",
           params=None, grad_req="write", separate=False, init=True, **loss):
    """A bound and initialized Module of the network, and the loss block."""
    net, block = symbol(separate, **dict({"dtype": dtype}, **loss))
    labels = ["softmax_label", "center_label"] if separate else ["softmax_label"]
    made = mx.mod.Module(net, label_names=labels, context=devices(number))
    made.bind([mx.io.DataDesc("data", (batch_size, IN), dtype)],
              [mx.io.DataDesc(name, (batch_size,), dtype) for name in labels], grad_req=grad_req)
    weights = initial_weights() if weights is None else weights
    made.init_params(arg_params={name: mx.nd.array(value, dtype=dtype) for name, value in weights.items()},
                     allow_missing=True)
    if init:
        made.init_optimizer(kvstore, optimizer, params or {"base": "sgd", "learning_rate": 0.3, "momentum": 0.9})
    return made, block


def batch(data, label, dtype="float64", copies=1):
    return mx.io.DataBatch([mx.nd.array(data, dtype=dtype)], [mx.nd.array(label, dtype=dtype)] * copies)


def step_module(made, data, label, dtype="float64"):
    made.forward_backward(batch(data, label, dtype, len(made._label_names)))
    made.update()


def module_state(made, block):
    params = made.get_params()[0]
    return ({name: params[name].asnumpy() for name in initial_weights()}, block.class_centers(params).asnumpy(),
            block.class_counts(params).asnumpy() if block.centers.rule["update"] == "average" else None)


def net(number=1, dtype="float64", weights=None, hybridize=True, **loss):
    """An initialized `Net`."""
    made = Net(dtype, **loss)
    made.initialize(ctx=devices(number))
    weights = initial_weights() if weights is None else weights
    for name, parameter in made.collect_params().items():
        if name in weights:
            parameter.set_data(mx.nd.array(weights[name], dtype=dtype))
    if hybridize:
        made.hybridize()
    return made


def trainer(made, kvstore="device", optimizer="withcenters", params=None, **settings):
    params = params or {"base": "sgd", "learning_rate": 0.3, "momentum": 0.9}
    return mx.gluon.Trainer(made.collect_params(), optimizer, params, kvstore=kvstore, **settings)


def backward_net(made, data, label, sample_weight=None, dtype="float64"):
    """Forward and backward on all devices of `made`, on slices of different sizes; returns their center losses."""
    ctx = made.output.weight.list_ctx()
    arrays = [data, label] if sample_weight is None else [data, label, sample_weight]
    split = [mx.gluon.utils.split_and_load(mx.nd.array(array, dtype=dtype), ctx, even_split=False) for array in arrays]
    with mx.autograd.record():
        losses = [made(*slices) for slices in zip(*split)]
        mx.autograd.backward([softmax + center for softmax, center in losses])
    return [center for _, center in losses]


def step_net(made, training, data, label, sample_weight=None, batch_size=None, dtype="float64"):
    losses = backward_net(made, data, label, sample_weight, dtype)
    training.step(batch_size or len(label))
    return np.concatenate([loss.asnumpy() for loss in losses])


def net_state(made):
    params = {name: parameter.list_data()[0].asnumpy() for name, parameter in made.collect_params().items()}
    block = made.center_loss
    return ({name: params[name] for name in initial_weights()}, block.class_centers().asnumpy(),
            block.class_counts().asnumpy() if block.centers.rule["update"] == "average" else None)
