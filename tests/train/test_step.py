"""One training step hands over the values of its own pass, and trains as MXNet's own step does."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import mxloss


def network():
    """A regression whose loss and prediction are both outputs of the Group."""
    score = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1, name="fc", no_bias=True)
    squared = (score - mx.sym.var("label").reshape((-1, 1))).square().sum(axis=1) / 2
    return mx.sym.Group([mx.sym.MakeLoss(squared, name="squared"), mx.sym.BlockGrad(score, name="score")])


def bound(devices, batch=6):
    module = mx.mod.Module(network(), label_names=["label"], context=[mx.cpu(i) for i in range(devices)])
    module.bind([("data", (batch, 3))], [("label", (batch,))])
    module.init_params(mx.init.One())
    module.init_optimizer(kvstore="device", optimizer_params={"learning_rate": 0.1})
    return module


def batches(rng, count, size=6):
    return [mx.io.DataBatch([mx.nd.array(rng.randn(size, 3))], [mx.nd.array(rng.randn(size))]) for _ in range(count)]


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_module_values_are_those_before_the_step_and_stay(rng, devices):
    module, weight, kept = bound(devices), np.ones((1, 3)), []
    for batch in batches(rng, 4):
        data, label = batch.data[0].asnumpy().astype("float64"), batch.label[0].asnumpy().astype("float64")
        difference = (data @ weight.T)[:, 0] - label
        kept.append((mxloss.train_minibatch(module, batch, outputs=("squared", "score_output")), difference, label))
        weight -= 0.1 / 6 * difference[None] @ data
    for values, difference, label in kept:  # read after all steps: the arrays must not have been overwritten
        np.testing.assert_allclose(values["squared"].asnumpy(), difference ** 2 / 2, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values["score_output"].asnumpy()[:, 0], difference + label, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.get_params()[0]["fc_weight"].asnumpy(), weight, rtol=1e-5)


def test_an_output_that_is_not_there_is_named_before_anything_is_trained(rng):
    module = bound(1)
    with pytest.raises(ValueError, match=r"train_minibatch: `outputs` must be among 'squared_output', 'score_output', "
                                         r"got 'center_loss'"):
        mxloss.train_minibatch(module, batches(rng, 1)[0], ["squared", "center_loss"])
    np.testing.assert_array_equal(module.get_params()[0]["fc_weight"].asnumpy(), np.ones((1, 3)))


def by_operator(feature, label):
    return mx.sym.Custom(feature, label, num_class=3, op_type="centerloss", name="center")


def by_block(feature, label):
    return mxloss.CenterLoss(num_class=3, feature_size=2, prefix="center_")(feature, label)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("door", [by_operator, by_block])
def test_a_label_that_is_no_class_is_named_before_anything_is_trained(door, devices):
    feature = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc")
    module = mx.mod.Module(mx.sym.MakeLoss(door(feature, mx.sym.var("digit")), name="center_loss"),
                           label_names=["digit"], context=[mx.cpu(i) for i in range(devices)])
    module.bind([("data", (4, 3))], [("digit", (4,))])
    module.init_params(mx.init.One())
    module.init_optimizer(kvstore="device", optimizer="withcenters", optimizer_params={"base": "sgd"})
    before = [{name: array.asnumpy() for name, array in arrays.items()} for arrays in module.get_params()]
    bad = mx.io.DataBatch([mx.nd.ones((4, 3))], [mx.nd.array([0, 1, 7, 2])])
    with pytest.raises(ValueError, match=r"`label` must be a whole number in \[0, 2\], got 7.0 in row 2"):
        mxloss.train_minibatch(module, bad, "center_loss")
    for arrays, kept in zip(module.get_params(), before):
        for name, array in arrays.items():
            np.testing.assert_array_equal(array.asnumpy(), kept[name])
    good = mx.io.DataBatch([mx.nd.ones((4, 3))], [mx.nd.array([0, 1, 1, 2])])
    assert np.isfinite(mxloss.train_minibatch(module, good, "center_loss")["center_loss"].asnumpy()).all()


def dense(devices):
    net = gluon.nn.Dense(2, in_units=3, use_bias=False)
    net.initialize(mx.init.One(), ctx=[mx.cpu(i) for i in range(devices)])
    return net, gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_gluon_values_are_those_before_the_step_on_any_number_of_devices(rng, devices, hybridize):
    net, trainer = dense(devices)
    if hybridize:
        net.hybridize()
    losses = mxloss.LossGroup({"squared": gluon.loss.L2Loss(), "absolute": gluon.loss.L1Loss()},
                              weights={"absolute": 0.5})
    weight, momentum = np.ones((2, 3)), np.zeros((2, 3))
    for _ in range(3):
        data, label = rng.randn(7, 3), rng.randn(7, 2)
        values = mxloss.train_step(net, losses, trainer, (mx.nd.array(data), mx.nd.array(label)))
        difference = data @ weight.T - label
        np.testing.assert_allclose(values["squared"].asnumpy(), (difference ** 2).mean(axis=1) / 2, rtol=1e-3)
        np.testing.assert_allclose(values["absolute"].asnumpy(), 0.5 * np.abs(difference).mean(axis=1), rtol=1e-3)
        slope = (difference + 0.5 * np.sign(difference)) / 2  # each loss is a mean over the two outputs
        momentum = 0.9 * momentum - 0.1 / 7 * slope.T @ data
        weight = weight + momentum
    for device in net.weight.list_ctx():
        np.testing.assert_allclose(net.weight.data(device).asnumpy(), weight, rtol=1e-4, atol=1e-6)


def test_all_forward_passes_start_before_the_first_backward_pass(monkeypatch):
    net, trainer = dense(2)
    seen, forward, backward = [], net.forward, mx.autograd.backward
    monkeypatch.setattr(net, "forward", lambda *inputs: seen.append("forward") or forward(*inputs))
    monkeypatch.setattr(mx.autograd, "backward", lambda *heads: seen.append("backward") or backward(*heads))
    mxloss.train_step(net, gluon.loss.L2Loss(), trainer, (mx.nd.ones((4, 3)), mx.nd.ones((4, 2))))
    assert seen == ["forward", "forward", "backward"]


def test_a_data_batch_and_losses_without_labels_train_too():
    net, trainer = dense(2)
    losses = mxloss.LossGroup({"size": gluon.nn.HybridLambda(lambda F, x: x.square().sum(axis=1))},
                              labels={"size": None})
    values = mxloss.train_step(net, losses, trainer, mx.io.DataBatch([mx.nd.ones((3, 3))]))
    np.testing.assert_allclose(values["size"].asnumpy(), [18, 18, 18])


def test_a_batch_smaller_than_the_devices_is_named_before_anything_is_trained():
    net, trainer = dense(3)
    with pytest.raises(ValueError, match=r"train_step: `batch` must be at least 3 samples, one for each device, got 2"):
        mxloss.train_step(net, gluon.loss.L2Loss(), trainer, (mx.nd.ones((2, 3)), mx.nd.ones((2, 2))))


def test_outputs_are_handed_over_and_the_divisor_can_be_given(rng):
    net, trainer = dense(2)
    data, label = rng.randn(5, 3), rng.randn(5, 2)
    values = mxloss.train_step(net, gluon.loss.L2Loss(), trainer, (mx.nd.array(data), mx.nd.array(label)),
                               outputs=(0,), batch_size=20)
    pred = data @ np.ones((3, 2))
    np.testing.assert_allclose(values[0].asnumpy(), pred, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net.weight.data(mx.cpu(1)).asnumpy(), 1 - 0.1 / 20 * ((pred - label) / 2).T @ data,
                               rtol=1e-5)


def test_an_output_that_gluon_does_not_give_is_named_before_any_weight_moves():
    net, trainer = dense(1)
    with pytest.raises(ValueError, match=r"train_step: `outputs` must be among 0, .*got 3"):
        mxloss.train_step(net, gluon.loss.L2Loss(), trainer, (mx.nd.ones((4, 3)), mx.nd.ones((4, 2))), outputs=(3,))
    np.testing.assert_array_equal(net.weight.data().asnumpy(), np.ones((2, 3)))
