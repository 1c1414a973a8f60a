"""Where there are no centers `withcenters` is its base, bit for bit, and so it is for foreign parameters."""
import copy
import pickle

import mxnet as mx
import numpy as np
import pytest

import mxloss

#: Every optimizer that MXNet registers, but for one that takes no biases.
BASES = sorted(set(mx.optimizer.Optimizer.opt_registry) - {"withcenters", "groupadagrad"})
SETTINGS = {name: {"learning_rate": 0.05, "wd": 0.01} for name in BASES}
SETTINGS["adadelta"] = {"wd": 0.01}
SETTINGS["sgd"]["momentum"] = SETTINGS["nag"]["momentum"] = SETTINGS["lars"]["momentum"] = 0.9


def network():
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    hidden = mx.sym.FullyConnected(data, num_hidden=6, name="fc", attr={"__lr_mult__": "0.5"})
    my_centers = mx.sym.var("my_centers", shape=(1, 6), init=mx.init.One())  # a foreign parameter of that name
    hidden = mx.sym.tanh(mx.sym.broadcast_add(hidden, my_centers))
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(hidden, num_hidden=3, name="out"), label, name="softmax")


def batches():
    rng = np.random.RandomState(4)
    return [(mx.nd.array(rng.normal(size=(8, 5))), mx.nd.array(rng.randint(0, 3, 8))) for _ in range(6)]


def scheduler():
    return mx.lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=0.1)


def train_module(optimizer, params, number, kvstore, half_way=None):
    """Six batches, with `half_way(module)` between; the parameters after them."""
    mx.random.seed(7)  # for the noise of SGLD and the weights alike
    made = mx.mod.Module(network(), context=[mx.cpu(i) for i in range(number)])
    made.bind([("data", (8, 5))], [("softmax_label", (8,))])
    made.init_params(mx.init.Xavier())
    made.init_optimizer(kvstore, optimizer, params)
    for position, (data, label) in enumerate(batches()):
        if position == 3 and half_way:
            half_way(made)
        made.forward_backward(mx.io.DataBatch([data], [label]))
        made.update()
    return {name: value.asnumpy() for name, value in made.get_params()[0].items()}


def assert_same(one, other):
    assert sorted(one) == sorted(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        assert np.isfinite(one[name]).all()


WAYS = pytest.mark.parametrize(("number", "kvstore", "on_kvstore"), [
    (1, None, "1"), (2, "device", "1"), (2, "device", "0")], ids=["one", "two_on_kvstore", "two_off_kvstore"])


@WAYS
@pytest.mark.parametrize("base", BASES)
def test_without_centers_module_gets_the_base(base, number, kvstore, on_kvstore, monkeypatch):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", on_kvstore)
    settings = SETTINGS[base]
    assert_same(train_module(base, settings, number, kvstore),
                train_module("withcenters", dict(settings, base=base), number, kvstore))


@WAYS
@pytest.mark.parametrize("base", ["sgd", "adam", "nadam", "lbsgd"])
def test_schedulers_run_at_the_speed_of_the_base(base, number, kvstore, on_kvstore, monkeypatch):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", on_kvstore)
    wanted = train_module(base, {"lr_scheduler": scheduler(), "learning_rate": 0.1}, number, kvstore)
    settings = {"base": base, "lr_scheduler": scheduler(), "learning_rate": 0.1}
    assert_same(wanted, train_module("withcenters", settings, number, kvstore))


@WAYS
@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_a_learning_rate_set_half_way_holds(base, number, kvstore, on_kvstore, monkeypatch):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", on_kvstore)

    def half_way(module):
        module._optimizer.set_learning_rate(0.01)
    settings = SETTINGS[base]
    wanted = train_module(base, settings, number, kvstore, half_way)
    assert_same(wanted, train_module("withcenters", dict(settings, base=base), number, kvstore, half_way))


def optimizer_of(base, given, settings, multiples):
    """The base, or `withcenters` over it by name or over an instance."""
    made = mx.optimizer.create(base, **settings)
    if given == "name":
        made = mx.optimizer.create("withcenters", base=base, **settings)
    made.set_lr_mult(multiples)
    made.set_wd_mult({"fc_weight": 0.5})
    return mx.optimizer.create("withcenters", base=made) if given == "instance" else made


@WAYS
@pytest.mark.parametrize("given", ["name", "instance"])
@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_multipliers_of_an_optimizer_object_hold_after_saving_and_loading(
        base, given, number, kvstore, on_kvstore, monkeypatch, tmp_path):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", on_kvstore)
    settings, multiples = dict(SETTINGS[base], rescale_grad=1 / 8), {"fc_weight": 0.1, "out_bias": 0.0}

    def reload(module):
        updater = module._kvstore._updater if module._update_on_kvstore else module._updater
        updater.set_states(updater.get_states(dump_optimizer=True))

    results = [train_module(optimizer_of(base, way, settings, multiples), {}, number, kvstore, reload)
               for way in (None, given)]
    assert_same(*results)


@pytest.mark.parametrize("base", ["sgd", "nag", "adam", "lars", "lamb", "rmsprop"])
@pytest.mark.parametrize(("number", "on_kvstore"), [(1, None), (2, True), (2, False)])
def test_sixteen_bit_parameters_have_their_precise_copies(base, number, on_kvstore):
    """Not a Dense layer, which MXNet does not compute in float16 on a CPU."""
    contexts, results = [mx.cpu(i) for i in range(number)], []
    for optimizer, settings in ((base, SETTINGS[base]), ("withcenters", dict(SETTINGS[base], base=base))):
        parameter = mx.gluon.Parameter("scale_weight", shape=(6,), dtype="float16", init=mx.init.One())
        parameter.initialize(ctx=contexts)
        trainer = mx.gluon.Trainer([parameter], optimizer, dict(settings, multi_precision=True), kvstore="device",
                                   update_on_kvstore=on_kvstore)
        for _ in range(5):
            with mx.autograd.record():
                losses = [((parameter.data(ctx) * mx.nd.arange(6, dtype="float16", ctx=ctx) - 2) ** 2).sum()
                          for ctx in contexts]
            mx.autograd.backward(losses)
            trainer.step(64)
        results.append({"scale_weight": parameter.data(contexts[-1]).asnumpy()})
    assert_same(*results)
    assert (results[0]["scale_weight"][1:] != 1).any()


def train_gluon(optimizer, settings, number, on_kvstore, half_way=None):
    """Six batches through a Dense layer with multipliers of its own; its parameters and the Trainer after them."""
    mx.random.seed(7)
    contexts = [mx.cpu(i) for i in range(number)]
    net = mx.gluon.nn.Dense(3, in_units=5, prefix="out_")
    net.bias.lr_mult, net.weight.wd_mult = 0.25, 2.0
    net.initialize(mx.init.Xavier(), ctx=contexts)
    trainer = mx.gluon.Trainer(net.collect_params(), optimizer, settings, "device", update_on_kvstore=on_kvstore)
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    for position, (data, label) in enumerate(batches()):
        if position == 3 and half_way:
            half_way(trainer)
        slices = [mx.gluon.utils.split_and_load(array, contexts) for array in (data, label)]
        with mx.autograd.record():
            losses = [loss(net(x), y) for x, y in zip(*slices)]
        mx.autograd.backward(losses)
        trainer.step(8)
    return {name: value.data(contexts[-1]).asnumpy() for name, value in net.collect_params().items()}, trainer


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("number", "on_kvstore"), [(1, None), (2, True), (2, False)])
def test_without_centers_a_trainer_gets_the_base_also_after_loading_its_states(base, number, on_kvstore, tmp_path):
    def reload(trainer):
        trainer.save_states(str(tmp_path / "states"))
        trainer.load_states(str(tmp_path / "states"))
        if trainer._optimizer.lr_scheduler is None:
            trainer.set_learning_rate(0.02)
    settings = SETTINGS[base]
    wanted, _ = train_gluon(base, settings, number, on_kvstore, half_way=reload)
    got, trainer = train_gluon("withcenters", dict(settings, base=base), number, on_kvstore, half_way=reload)
    assert_same(wanted, got)
    assert isinstance(trainer.optimizer, mxloss.optimizer.WithCenters)


@pytest.mark.parametrize("base", BASES)
def test_it_is_one_object_of_both_classes_that_pickles_and_copies(base):
    optimizer = mx.optimizer.create("WithCenters", base=base.upper(), **SETTINGS[base])
    assert isinstance(optimizer, mx.optimizer.Optimizer.opt_registry[base])
    assert isinstance(optimizer, mxloss.optimizer.WithCenters)
    pickled = [pickle.loads(pickle.dumps(optimizer, protocol)) for protocol in range(5)]
    for again in [*pickled, copy.deepcopy(optimizer)]:
        assert type(again) is type(optimizer)
        state, wanted = again.__getstate__(), optimizer.__getstate__()
        assert sorted(state) == sorted(wanted)
        assert all(repr(state[key]) == repr(wanted[key]) for key in state)


def test_a_parameter_server_without_centers_gets_the_base_itself(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    again = pickle.loads(pickle.dumps(mx.optimizer.create("withcenters", base="sgd", momentum=0.5), 0))
    assert type(again) is mx.optimizer.SGD
    assert again.momentum == 0.5


def test_a_foreign_parameter_of_gluon_is_left_to_the_base():
    results = []
    for optimizer in ("sgd", "withcenters"):
        foreign = mx.gluon.Parameter("kmeans_centers", shape=(3, 2), init=mx.init.One())
        foreign.initialize()
        trainer = mx.gluon.Trainer([foreign], optimizer, {"learning_rate": 0.1})
        with mx.autograd.record():
            loss = (foreign.data() ** 2).sum()
        loss.backward()
        trainer.step(1)
        results.append(foreign.data().asnumpy())
    np.testing.assert_array_equal(*results)
    assert results[0][0, 0] == pytest.approx(0.8)


def test_where_only_a_name_is_known_the_name_decides():
    optimizer = mx.optimizer.create("withcenters", base="sgd", learning_rate=0.1, param_idx2name={3: "a_centers"})
    weight = mx.nd.array([[0., 4.]])
    optimizer.update(3, weight, mx.nd.array([[2., 1.]]), None)
    np.testing.assert_array_equal(weight.asnumpy(), [[-1., 5.]])


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"base": "nothing"}, ValueError, "WithCenters: `base` must be one of .*'sgd'.*got 'nothing'"),
    ({"base": "withcenters"}, ValueError, "WithCenters: `base` must be one of"),
    ({"base": 3}, ValueError, "WithCenters: `base` must be one of .*got 3"),
    ({"base": mx.optimizer.create("withcenters")}, ValueError, "`base` must be an optimizer without centers"),
    ({"base": mx.optimizer.create("sgd"), "momentum": 0.5}, TypeError,
     "WithCenters: `momentum` must be given to the optimizer that is `base`, got 0.5"),
])
def test_what_cannot_be_a_base_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        mx.optimizer.create("withcenters", **settings)
