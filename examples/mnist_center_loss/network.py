"""The networks: layers down to a 2-D embedding, with softmax alone or with softmax + center loss on top."""
import mxnet as mx

NUM_CLASS = 10
SOFTMAX_LABELS = ("softmax_label",)
CENTER_LABELS = ("softmax_label", "center_label")


def lenet(data):
    """Two convolutions and a full layer, with tanh: the network of MXNet's own center loss example."""
    layer = data
    for number, channels in ((1, 20), (2, 50)):
        layer = mx.sym.Convolution(layer, kernel=(5, 5), num_filter=channels, name="conv{}".format(number))
        layer = mx.sym.Activation(layer, act_type="tanh")
        layer = mx.sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="max")
    layer = mx.sym.FullyConnected(layer, num_hidden=500, name="full")
    return mx.sym.Activation(layer, act_type="tanh")


def mlp(data):
    """Two full layers, with tanh."""
    layer = data
    for number, units in ((1, 128), (2, 64)):
        layer = mx.sym.FullyConnected(layer, num_hidden=units, name="full{}".format(number))
        layer = mx.sym.Activation(layer, act_type="tanh")
    return layer


NETWORKS = {"lenet": lenet, "mlp": mlp}


def softmax_alone(network):
    """The network with one head: ``softmax``."""
    return _softmax(_embedding(network))


def softmax_and_center(network, *, alpha, weight, batch_size):
    """The network with two heads, ``softmax`` and ``center_loss``, and a label variable for each.

    Args:
        network: one of `NETWORKS`.
        alpha: how far a center moves towards its samples in a step, in [0, 1].
        weight: weight of the center loss beside the softmax's.
        batch_size: samples in a batch.
    """
    embedding = _embedding(network)
    center = mx.symbol.Custom(data=embedding, label=mx.symbol.Variable("center_label"), name="center_loss_",
                              op_type="centerloss", num_class=NUM_CLASS, alpha=alpha, scale=weight,
                              batchsize=batch_size)
    return mx.symbol.Group([_softmax(embedding), mx.symbol.MakeLoss(center, name="center_loss")])


def softmax_and_block(network, center_loss):
    """Like `softmax_and_center`, with the block `center_loss`: one set of centers on all devices and workers."""
    embedding = _embedding(network)
    center = center_loss(embedding, mx.symbol.Variable("center_label"))
    return mx.symbol.Group([_softmax(embedding), mx.symbol.MakeLoss(center, name="center_loss")])


def without_heads(net):
    """What `net` makes of images: the 2-D ``embedding``, and the ten ``scores``, whose greatest is the answer."""
    layers = net.get_internals()
    return mx.symbol.Group([layers["embedding_output"], layers["scores_output"]])


def _embedding(network):
    return mx.symbol.FullyConnected(NETWORKS[network](mx.symbol.Variable("data")), num_hidden=2, name="embedding")


def _softmax(embedding):
    scores = mx.symbol.FullyConnected(embedding, num_hidden=NUM_CLASS, name="scores")
    return mx.symbol.SoftmaxOutput(scores, mx.symbol.Variable("softmax_label"), name="softmax")
