"""A network with two losses whose weights go by schedules, trained in float64 loops, in Module and in Gluon."""
import mxnet as mx
import numpy as np

import mxloss

CLASSES, FEATURES = 3, 4
LR, MOMENTUM = 0.5, 0.875
#: Uneven on purpose, and as many as reach behind the end of both schedules.
SIZES = (6, 6, 4, 6, 5, 6, 6)
RISING = [(0, 0.0), (3, 0.6)]                      # what WarmUp(0.6, steps=3) is
FALLING = [(1, 0.5), (2, 2.0), (6, 0.25)]
SCHEDULES = {"softmax": mxloss.WarmUp(0.6, steps=3), "size": mxloss.PiecewiseLinear(FALLING)}


def by_hand(points, step):
    """The weight at a step, from the points around it."""
    if step <= points[0][0]:
        return points[0][1]
    for (start, low), (end, high) in zip(points, points[1:]):
        if start <= step <= end:
            return low + (high - low) * (step - start) / (end - start)
    return points[-1][1]


def batches(sizes=SIZES, seed=5):
    draw = np.random.RandomState(seed)
    return [(draw.normal(0, 1, (size, FEATURES)), draw.randint(0, CLASSES, size)) for size in sizes]


def initial_weight():
    return np.random.RandomState(9).normal(0, 0.5, (CLASSES, FEATURES))


def oracle(groups=None, rescale=None):
    """The weight of the network after all steps, and the mean of each loss in each batch.

    `groups` are lists of batches: the gradients of each list are added up for one step.
    """
    groups = [[batch] for batch in batches()] if groups is None else groups
    weight, momentum, values = initial_weight(), 0.0, []
    for step, group in enumerate(groups):
        softmax_weight, size_weight = by_hand(RISING, step), by_hand(FALLING, step)
        gradient = np.zeros_like(weight)
        for data, label in group:
            softmax, size = 0.0, 0.0
            for x, y in zip(data, label):
                z = weight @ x
                p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
                softmax += -softmax_weight * np.log(p[y])
                size += size_weight * (z ** 2).sum() / 2
                gradient += np.outer(softmax_weight * (p - (np.arange(CLASSES) == y)) + size_weight * z, x)
            values.append((softmax / len(data), size / len(data)))
        momentum = MOMENTUM * momentum - LR * gradient * (rescale or 1 / sum(len(data) for data, _ in group))
        weight = weight + momentum
    return weight, np.array(values)


def devices(number):
    return [mx.cpu(i) for i in range(number)]


def half_square(score):
    return score.square().sum(axis=1) / 2


def symbol(center=False):
    """A Group of a loss block with a schedule, and of a head of native operators with one."""
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    score = mx.sym.FullyConnected(data, num_hidden=CLASSES, no_bias=True, name="score")
    softmax = mxloss.SoftmaxLoss(weight=SCHEDULES["softmax"], prefix="softmax_")(score, label)
    size = mxloss.ScheduledWeight(SCHEDULES["size"], prefix="size_")(half_square(score))
    heads = [mx.sym.MakeLoss(softmax, name="softmax"), mx.sym.MakeLoss(size, name="size")]
    if center:
        block = mxloss.CenterLoss(CLASSES, FEATURES, weight=SCHEDULES["softmax"], prefix="center_")
        heads.append(mx.sym.MakeLoss(block(data, label), name="center"))
    return mx.sym.load_json(mx.sym.Group(heads).tojson())


def module(number=1, kvstore="device", dtype="float64", params=None, batch_size=SIZES[0], net=None, **options):
    made = mx.mod.Module(symbol() if net is None else net, context=devices(number))
    made.bind([mx.io.DataDesc("data", (batch_size, FEATURES), dtype)],
              [mx.io.DataDesc("softmax_label", (batch_size,), dtype)], **options)
    params = params or ({"score_weight": mx.nd.array(initial_weight(), dtype=dtype)}, None)
    made.init_params(arg_params=params[0], aux_params=params[1], allow_missing=params[1] is None)
    made.init_optimizer(kvstore, "sgd", {"learning_rate": LR, "momentum": MOMENTUM, "wd": 0.0})
    return made


def batch(data, label, dtype="float64"):
    return mx.io.DataBatch([mx.nd.array(data, dtype=dtype)], [mx.nd.array(label, dtype=dtype)])


def train_module(made, some, dtype="float64"):
    """Train on batches, and return the mean of each head in each of them."""
    values = []
    for data, label in some:
        made._optimizer.rescale_grad = 1 / len(label)
        found = mxloss.train_minibatch(made, batch(data, label, dtype), ("softmax", "size"))
        values.append([found[name].asnumpy().mean() for name in ("softmax", "size")])
    return np.array(values)


def counts(made):
    """The steps that each device of a module has counted, by name."""
    return {name: [executor.aux_dict[name].asscalar() for executor in made._exec_group.execs]
            for name in made._aux_names}


class HalfSquare(mx.gluon.HybridBlock):
    def hybrid_forward(self, F, score):
        return half_square(score)


class Whole(mx.gluon.HybridBlock):
    """Network and losses in one: hybridized, it calls no Python of the losses per batch."""

    def __init__(self):
        super().__init__(prefix="whole_")
        with self.name_scope():
            self.score = mx.gluon.nn.Dense(CLASSES, use_bias=False, in_units=FEATURES, dtype="float64")
            self.softmax = mxloss.SoftmaxLoss(weight=SCHEDULES["softmax"])
            self.size = mxloss.ScheduledWeight(SCHEDULES["size"])

    def hybrid_forward(self, F, data, label):
        score = self.score(data)
        return self.softmax(score, label), self.size(half_square(score))


def whole(number=1, hybridize=False):
    made = Whole()
    made.initialize(ctx=devices(number))
    made.score.weight.set_data(mx.nd.array(initial_weight(), dtype="float64"))
    if hybridize:
        made.hybridize()
    return made


def parts(number=1, hybridize=False, dtype="float64"):
    """A network, and a LossGroup with schedules of its own."""
    net = mx.gluon.nn.Dense(CLASSES, use_bias=False, in_units=FEATURES, dtype=dtype, prefix="score_")
    losses = mxloss.LossGroup({"softmax": mxloss.SoftmaxLoss(), "size": HalfSquare()}, labels={"size": None},
                              weights=SCHEDULES, prefix="losses_")
    for block in (net, losses):
        block.initialize(ctx=devices(number))
        if hybridize:
            block.hybridize()
    net.weight.set_data(mx.nd.array(initial_weight(), dtype=dtype))
    return net, losses


def trainer(*blocks, **settings):
    parameters = {}
    for block in blocks:
        parameters.update(block.collect_params())
    return mx.gluon.Trainer(parameters, "sgd", {"learning_rate": LR, "momentum": MOMENTUM, "wd": 0.0}, **settings)


def backward(made, data, label):
    """Forward and backward of a `Whole` on all its devices; the mean of each loss."""
    used = made.score.weight.list_ctx()
    split = [mx.gluon.utils.split_and_load(mx.nd.array(array, dtype="float64"), used, even_split=False)
             for array in (data, label)]
    with mx.autograd.record():
        losses = [made(*arrays) for arrays in zip(*split)]
        mx.autograd.backward([softmax + size for softmax, size in losses])
    return [np.concatenate([loss[i].asnumpy() for loss in losses]).mean() for i in (0, 1)]
