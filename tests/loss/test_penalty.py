"""Penalties join the total and the parts, however the network is run, and are never dropped in silence."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import mxloss


class Encoder(gluon.HybridBlock):
    """A block of a user's own with a KL term and parameters whose shape is known late."""

    def __init__(self, name="kl", **options):
        super().__init__(**options)
        self.penalty = name
        self.weight = self.params.get("weight", shape=(2, 0), allow_deferred_init=True)

    def infer_shape(self, x, *args):
        self.weight.shape = (2, x.shape[1])

    def hybrid_forward(self, F, x, weight):
        mean = F.FullyConnected(x, weight, no_bias=True, num_hidden=2)
        mxloss.add_penalty(self, self.penalty, 0.5 * mean.square().sum(axis=1))
        return mean


def network(*blocks, devices=1):
    net = gluon.nn.HybridSequential(prefix="net_")
    net.add(*blocks)
    net.initialize(mx.init.One(), ctx=[mx.cpu(i) for i in range(devices)])
    return net


def kl(data, weight):
    return np.array([sum(0.5 * sum(w * x for w, x in zip(row, sample)) ** 2 for row in weight) for sample in data])


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("hybridize", [False, True])
def test_a_penalty_is_trained_and_reported_by_name(rng, hybridize, devices):
    net = mxloss.WithPenalties(network(Encoder(), devices=devices))
    if hybridize:
        net.hybridize()
    losses = mxloss.LossGroup({"squared": gluon.loss.L2Loss()}, penalties="kl", weights={"kl": 0.25})
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    weight = np.ones((2, 3))
    for size in (5, 5, 4):
        data, label = rng.randn(size, 3), rng.randn(size, 2)
        values = mxloss.train_step(net, losses, trainer, (mx.nd.array(data), mx.nd.array(label)))
        mean = data @ weight.T
        np.testing.assert_allclose(values["kl"].asnumpy(), 0.25 * kl(data, weight), rtol=1e-4)
        np.testing.assert_allclose(values["squared"].asnumpy(), ((mean - label) ** 2).sum(axis=1) / 4, rtol=1e-4)
        weight -= 0.1 / size * ((mean - label) / 2 + 0.25 * mean).T @ data
    (parameter,) = net.collect_params().values()
    for device in parameter.list_data():
        np.testing.assert_allclose(device.asnumpy(), weight, rtol=1e-4)


def test_an_exported_network_still_has_its_penalties(rng, tmp_path):
    net = mxloss.WithPenalties(network(gluon.nn.Dense(4), mxloss.ActivityPenalty(weight=0.5), Encoder()))
    net.hybridize()
    data = mx.nd.array(rng.randn(3, 2))
    outputs, penalties = net(data)
    net.export(str(tmp_path / "net"))
    symbol = mx.sym.load(str(tmp_path / "net-symbol.json"))
    assert symbol.list_outputs()[1:] == ["activity_penalty_output", "kl_penalty_output"]
    again = gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    for array, wanted in zip(again(data), [outputs, penalties["activity"], penalties["kl"]]):
        np.testing.assert_array_equal(array.asnumpy(), wanted.asnumpy())


def test_module_trains_on_the_penalties_of_a_traced_network(rng):
    outputs, penalties = mxloss.WithPenalties(network(Encoder()))(mx.sym.var("data"))
    symbol = mx.sym.Group([mx.sym.BlockGrad(outputs, name="mean"), mx.sym.MakeLoss(penalties["kl"], name="kl")])
    module = mx.mod.Module(symbol, label_names=None, context=[mx.cpu(0), mx.cpu(1)])
    data = rng.randn(4, 3)
    batch = mx.io.DataBatch([mx.nd.array(data)])
    module.bind([("data", (4, 3))])
    module.init_params(mx.init.One())
    module.init_optimizer(kvstore="device", optimizer_params={"learning_rate": 0.1})
    value = mxloss.train_minibatch(module, batch, ["kl"])["kl"]
    np.testing.assert_allclose(value.asnumpy(), kl(data, np.ones((2, 3))), rtol=1e-5)
    weight = np.ones((2, 3)) - 0.1 / 4 * (data @ np.ones((3, 2))).T @ data
    np.testing.assert_allclose(next(iter(module.get_params()[0].values())).asnumpy(), weight, rtol=1e-4)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_block_that_is_used_twice_adds_twice(hybridize):
    class Twice(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.penalty = mxloss.ActivityPenalty(weight=1, order=1)

        def hybrid_forward(self, F, x):
            return self.penalty(x) + self.penalty(10 * x)

    net = mxloss.WithPenalties(Twice())
    if hybridize:
        net.hybridize()
    np.testing.assert_array_equal(net(mx.nd.array([[1], [-2]])).penalties["activity"].asnumpy(), [11, 22])


@pytest.mark.parametrize("hybridize", [False, True])
def test_outside_of_the_wrapper_a_penalty_is_an_error(hybridize):
    net = network(Encoder(prefix="encoder_"))
    if hybridize:
        net.hybridize()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"encoder: `penalty kl` must be added inside a WithPenalties, which is "
                                             r"what has to be called, hybridized and exported, got 'a call outside"):
            net(mx.nd.ones((2, 3)))


@pytest.mark.parametrize("when", ["before the first call", "after it"])
@pytest.mark.parametrize("which", ["the block", "its parent"])
def test_hybridized_apart_a_penalty_is_an_error_in_every_call(which, when):
    block = Encoder()
    parent = network(block)
    net = mxloss.WithPenalties(parent)
    if when == "after it":
        net(mx.nd.ones((2, 3)))
    (block if which == "the block" else parent).hybridize()
    for _ in range(3):
        with pytest.raises(ValueError, match=r"WithPenalties: `penalty kl` must be added in each pass: hybridize the "
                                             r"wrapper, no block inside of it that adds penalties, got 'none'"):
            net(mx.nd.ones((2, 3)))
    net.hybridize()
    np.testing.assert_array_equal(net(mx.nd.ones((2, 3))).penalties["kl"].asnumpy(), [9, 9])


def test_a_part_without_penalties_may_be_hybridized_apart():
    extractor = gluon.nn.Dense(2, in_units=3)
    net = mxloss.WithPenalties(network(extractor, Encoder()))
    extractor.hybridize()
    for _ in range(2):
        assert list(net(mx.nd.ones((2, 3))).penalties) == ["kl"]


def test_two_blocks_need_two_names():
    net = mxloss.WithPenalties(network(Encoder(prefix="first_"), Encoder(prefix="second_")))
    for _ in range(2):  # a failed pass leaves nothing behind
        with pytest.raises(ValueError, match=r"second: `penalty kl` must be of another name than that of first, "
                                             r"got 'kl'"):
            net(mx.nd.ones((2, 3)))
    net = mxloss.WithPenalties(network(Encoder(), Encoder("other")))
    assert list(net(mx.nd.ones((2, 3))).penalties) == ["kl", "other"]


def test_wrappers_do_not_nest():
    net = mxloss.WithPenalties(network(mxloss.WithPenalties(Encoder())))
    with pytest.raises(ValueError, match=r"WithPenalties: `net` must be without a WithPenalties inside"):
        net(mx.nd.ones((2, 3)))


def test_what_is_wrapped_has_to_be_hybrid():
    with pytest.raises(TypeError, match=r"WithPenalties: `net` must be a hybrid block, got Sequential"):
        mxloss.WithPenalties(gluon.nn.Sequential())


class Adding(gluon.HybridBlock):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def hybrid_forward(self, F, x):
        mxloss.add_penalty(self, "p", self.value(x))
        return x


@pytest.mark.parametrize(("value", "error", "words"), [
    (lambda x: x, ValueError, r"`penalty p` must be \(batch,\), 1 axis, got \(2, 3\)"),
    (lambda x: 1.5, TypeError, r"`penalty p` must be a NDArray in this pass, got 1.5"),
])
def test_a_penalty_is_one_number_per_sample(value, error, words):
    with pytest.raises(error, match=words):
        mxloss.WithPenalties(Adding(value))(mx.nd.ones((2, 3)))


def test_a_penalty_of_one_number_is_not_spread_over_the_batch():
    outputs = mxloss.WithPenalties(Adding(lambda x: x.sum().reshape((1,))))(mx.nd.ones((2, 3)))
    with pytest.raises(ValueError, match=r"LossGroup: `p` must be of shape \(2,\), got \(1,\)"):
        mxloss.LossGroup({"squared": gluon.loss.L2Loss()})(outputs, mx.nd.ones((2, 3)))


def test_penalties_without_a_weight_join_the_total_too():
    losses = mxloss.LossGroup({"squared": gluon.loss.L2Loss()})
    outputs = mxloss.WithPenalties(Adding(lambda x: x.sum(axis=1)))(mx.nd.array([[1, 3], [5, 5]]))
    total, parts = losses(outputs, mx.nd.zeros((2, 2)))
    np.testing.assert_array_equal(total.asnumpy(), [4 + 2.5, 10 + 12.5])
    np.testing.assert_array_equal(parts["p"].asnumpy(), [4, 10])


def test_a_weight_of_a_penalty_may_change_between_steps():
    losses = mxloss.LossGroup({"squared": gluon.loss.L2Loss()}, penalties=["p"])
    net = mxloss.WithPenalties(Adding(lambda x: x.sum(axis=1)))
    net.hybridize()
    for weight in (0, 3):
        losses.set_weight("p", weight)
        total, parts = losses(net(mx.nd.array([[2, 2]])), mx.nd.array([[2, 2]]))
        assert total.asscalar() == parts["p"].asscalar() == 4 * weight


@pytest.mark.parametrize(("options", "words"), [
    ({"penalties": "kl"}, r"LossGroup: `penalties` must be among 'p', got 'kl'"),
    ({"penalties": "squared"}, r"LossGroup: `penalties` must be of other names than the losses, got 'squared'"),
    ({"weights": {"p": 2}}, r"LossGroup: `weights` must be among 'squared', got 'p'"),
])
def test_names_of_penalties_are_checked(options, words):
    def run():
        losses = mxloss.LossGroup({"squared": gluon.loss.L2Loss()}, **options)
        losses(mxloss.WithPenalties(Adding(lambda x: x.sum(axis=1)))(mx.nd.ones((2, 3))), mx.nd.ones((2, 3)))

    with pytest.raises(ValueError, match=words):
        run()


def test_a_loss_alone_does_not_drop_penalties():
    net = mxloss.WithPenalties(network(Encoder()))
    net(mx.nd.ones((2, 3)))
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    with pytest.raises(TypeError, match=r"train_step: `losses` must be a LossGroup, for the network adds penalties"):
        mxloss.train_step(net, gluon.loss.L2Loss(), trainer, (mx.nd.ones((2, 3)), mx.nd.ones((2, 2))))
