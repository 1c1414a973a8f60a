"""Weight decay as a penalty moves the parameters as weight decay does."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import mxloss


def network(devices, wd=None):
    net = gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(4, activation="tanh", in_units=3), gluon.nn.Dense(2, in_units=4))
    net[0].bias.wd_mult = 0.0
    net[1].weight.wd_mult = 2.0
    if wd is not None:
        net.add(mxloss.L2Penalty(net.collect_params(), wd=wd))
        net = mxloss.WithPenalties(net)
    mx.random.seed(3)
    net.initialize(mx.init.Normal(0.5), ctx=[mx.cpu(i) for i in range(devices)])
    return net


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_with_wd_is_a_step_with_the_penalty(rng, devices, hybridize):
    losses = mxloss.LossGroup({"squared": gluon.loss.L2Loss()})
    decayed, penalised = network(devices), network(devices, wd=0.1)
    options = {"learning_rate": 0.2, "momentum": 0.9}
    trainers = [gluon.Trainer(decayed.collect_params(), "sgd", dict(options, wd=0.1)),
                gluon.Trainer(penalised.collect_params(), "sgd", options)]
    if hybridize:
        penalised.hybridize()
    for size in (6, 6, 5):
        batch = mx.nd.array(rng.randn(size, 3)), mx.nd.array(rng.randn(size, 2))
        for net, trainer in zip((decayed, penalised), trainers):
            values = mxloss.train_step(net, losses, trainer, batch)
    assert values["l2"].shape == (5,)
    before = network(1).collect_params()
    for name, parameter in decayed.collect_params().items():
        after = parameter.list_data()[0].asnumpy()
        np.testing.assert_allclose(penalised.collect_params()[name].list_data()[0].asnumpy(), after, rtol=1e-4,
                                   atol=1e-6)
        if name in before and before[name].shape == after.shape and before[name]._data:
            assert np.abs(after - before[name].data().asnumpy()).max() > 1e-2


def test_the_value_is_half_the_sum_of_squares_that_decay(rng):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2, in_units=3), gluon.nn.BatchNorm(in_channels=2))
    net[0].bias.wd_mult = 0.5
    net.add(mxloss.L2Penalty(net.collect_params(), wd=0.3))  # running mean and variance have no gradient
    net.initialize(mx.init.Normal(1))
    net[0].bias.set_data(mx.nd.array([3, -4]))
    value = mxloss.WithPenalties(net)(mx.nd.ones((4, 3))).penalties["l2"].asnumpy()
    weight, gamma = net[0].weight.data().asnumpy(), net[1].gamma.data().asnumpy()
    wanted = 0.3 / 2 * (sum(w * w for w in weight.reshape(-1)) + 0.5 * 25 + sum(g * g for g in gamma))
    np.testing.assert_allclose(value, [wanted] * 4, rtol=1e-5)


def test_parameters_that_are_shared_stay_the_networks():
    net = network(1, wd=0.1)
    assert sorted(net.collect_params()) == sorted(network(1).collect_params())


@pytest.mark.parametrize("data", [mx.nd.array([[np.nan, np.inf]]), mx.nd.array([1], dtype="int32")])
def test_the_input_does_not_matter(data):
    net = gluon.nn.HybridSequential()
    weight = gluon.Parameter("weight", shape=(2,), init="ones")
    weight.initialize()
    net.add(mxloss.L2Penalty({"weight": weight}, wd=2))
    assert mxloss.WithPenalties(net)(data).penalties["l2"].asscalar() == 2


@pytest.mark.parametrize(("parameters", "options", "error", "words"), [
    ({}, {"wd": 1}, TypeError, r"L2Penalty: `parameters` must be a dict of at least one parameter, got \{\}"),
    (gluon.nn.Dense(1).collect_params(), {"wd": -1}, ValueError, r"L2Penalty: `wd` must be a finite number >= 0"),
])
def test_bad_arguments_are_named(parameters, options, error, words):
    with pytest.raises(error, match=words):
        mxloss.L2Penalty(parameters, **options)
