"""Weights that follow a schedule: the weight of each step by hand, in every door, on any devices, over a resume."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

import mxloss
from mxloss import PiecewiseLinear, WarmUp
from mxloss.stop import Target

from ..stopping import After

CORNERS = [(1, 0.25), (3, 1.0), (4, 0.5)]
BY_HAND = [0.25, 0.25, 0.625, 1.0, 0.5, 0.5, 0.5]  # of the steps 0 to 6
LR, SAMPLES, BATCH = 0.5, 12, 4


def contexts(devices):
    return [mx.cpu(i) for i in range(devices)]


def samples():
    rng = np.random.RandomState(3)
    return rng.normal(0, 1, (SAMPLES, 2)).astype("float32"), rng.normal(0, 1, SAMPLES).astype("float32")


def data():
    return mxloss.io.ArrayIter(*samples(), BATCH, label_name="label")


def by_hand(steps, begin=(1.0, -1.0)):
    """Losses of each batch as they are optimised, and the weights after `steps` steps, in float64.

    The loss of a sample is weight(step) * (w·x - y)^2 / 2, the step that of plain SGD with the mean gradient.
    """
    x, y = (array.astype("float64") for array in samples())
    w, losses = np.array(begin), []
    for step in range(steps):
        rows = slice(step * BATCH % SAMPLES, step * BATCH % SAMPLES + BATCH)
        error = x[rows] @ w - y[rows]
        losses.append((BY_HAND[step] * error ** 2 / 2).mean())
        w = w - LR * BY_HAND[step] * (error[:, None] * x[rows]).mean(axis=0)
    return losses, w


# --- schedules --------------------------------------------------------------------------------------------------------

def test_a_line_goes_through_its_corners_and_is_constant_outside():
    assert [PiecewiseLinear(CORNERS)(step) for step in range(7)] == BY_HAND
    assert [PiecewiseLinear([(2, 0.5)])(step) for step in (0, 2, 9)] == [0.5] * 3
    assert [WarmUp(2, 4, 1)(step) for step in (0, 1, 2, 3, 4, 5)] == [1, 1.25, 1.5, 1.75, 2, 2]


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: PiecewiseLinear([]), TypeError, r"PiecewiseLinear: `corners` must be a list of at least one pair"),
    (lambda: PiecewiseLinear(0.5), TypeError, r"PiecewiseLinear: `corners` must be a list of at least one pair"),
    (lambda: PiecewiseLinear([1, 2]), TypeError, r"PiecewiseLinear: `corners` must be pairs \(step, weight\), got 1"),
    (lambda: PiecewiseLinear([(0, 1), (0, 2)]), ValueError, "`step` must be greater than that of the corner before, 0"),
    (lambda: PiecewiseLinear([(5, 1), (2, 2)]), ValueError, "`step` must be greater than that of the corner before, 5"),
    (lambda: PiecewiseLinear([(-1, 1)]), ValueError, "PiecewiseLinear: `step` must be a whole number >= 0, got -1"),
    (lambda: PiecewiseLinear([(0.5, 1)]), TypeError, "PiecewiseLinear: `step` must be a whole number, got 0.5"),
    (lambda: PiecewiseLinear([(0, -1)]), ValueError, "PiecewiseLinear: `weight` must be a finite number >= 0, got -1"),
    (lambda: PiecewiseLinear([(0, np.nan)]), ValueError, "PiecewiseLinear: `weight` must be a finite number >= 0"),
    (lambda: WarmUp(1, 0), ValueError, "WarmUp: `steps` must be a whole number >= 1, got 0"),
    (lambda: WarmUp(-1, 5), ValueError, "WarmUp: `weight` must be a finite number >= 0, got -1"),
    (lambda: WarmUp(1, 5, -1), ValueError, "WarmUp: `begin` must be a finite number >= 0, got -1"),
    (lambda: mxloss.Weighted(0.5), TypeError, "Weighted: `schedule` must be a PiecewiseLinear or WarmUp, got 0.5"),
    (lambda: mxloss.SoftmaxLoss(weight="warm"), TypeError, "SoftmaxLoss: `weight` must be a number, got 'warm'"),
])
def test_what_is_no_schedule_is_told(make, error, words):
    with pytest.raises(error, match=words):
        make()


# --- Module -----------------------------------------------------------------------------------------------------------

def network():
    """(w·x - y)^2 / 2 with a scheduled weight, as a head of a symbol."""
    line = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1, no_bias=True, name="line")
    error = line.reshape((-1,)) - mx.sym.var("label")
    return mx.sym.MakeLoss(mxloss.Weighted(PiecewiseLinear(CORNERS), prefix="square_")(0.5 * error ** 2), name="square")


def module(devices=1, net=None):
    return mx.mod.Module(network() if net is None else net, label_names=["label"], context=contexts(devices))


def fit(made, losses, epochs=2, **options):
    """`Module.fit`, or with `options` that it does not have `mxloss.fit`."""
    given = {"optimizer_params": {"learning_rate": LR}, "arg_params": {"line_weight": mx.nd.array([[1.0, -1.0]])},
             "initializer": mx.init.Zero(), "eval_metric": mxloss.metric.from_symbol(made.symbol),
             "kvstore": "device", "num_epoch": epochs}
    batch = mx.metric.create(given["eval_metric"])

    def note(param):
        losses.append(dict(batch.get_name_value())["square"])
        batch.reset_local()

    loop = mxloss.fit if options else type(made).fit
    return loop(made, data(), **dict(given, batch_end_callback=note, **options))


@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize("on_kvstore", ["0", "1"])
def test_a_symbol_head_has_the_weight_of_each_step(monkeypatch, devices, on_kvstore):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", on_kvstore)
    made, losses = module(devices), []
    fit(made, losses)
    expected, weight = by_hand(6)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)  # what is reported is what was optimised
    args, auxs = made.get_params()
    np.testing.assert_allclose(args["line_weight"].asnumpy()[0], weight, rtol=1e-5)
    assert auxs["square_scheduled_weight"].asnumpy().tolist() == [BY_HAND[6], 6]


def test_a_saved_symbol_goes_on_with_its_schedule():
    net = mx.sym.load_json(network().tojson())
    losses = []
    fit(module(net=net), losses)
    np.testing.assert_allclose(losses, by_hand(6)[0], rtol=1e-5)


def test_evaluation_does_not_move_it_on():
    made = module()
    fit(made, [], epochs=1)
    for _ in range(3):
        made.score(data(), mxloss.metric.from_symbol(made.symbol))
    assert made.get_params()[1]["square_scheduled_weight"].asnumpy().tolist() == [BY_HAND[3], 3]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("batches", [2, 3, 4])
def test_a_resumed_module_goes_on_where_it_was(tmp_path, devices, batches):
    straight, cut, rest = [], [], []
    fit(module(devices), straight)
    fit(module(devices), cut, checkpoint=tmp_path, stop=After(batches))
    made = module(devices)
    fit(made, rest, checkpoint=tmp_path, resume=True)
    assert made.get_params()[1]["square_scheduled_weight"].asnumpy().tolist() == [BY_HAND[6], 6]
    assert (cut + rest)[-len(rest):] == pytest.approx(straight[-len(rest):], rel=1e-6)


def test_module_goes_on_from_parameters_that_it_is_given():
    """MXNet's own way to resume, which knows no steps of the optimizer."""
    first = module()
    fit(first, [], epochs=1)
    args, auxs = first.get_params()
    losses, second = [], module()
    fit(second, losses, epochs=1, arg_params=args, aux_params=auxs, stop=None)
    np.testing.assert_allclose(losses, by_hand(6)[0][3:], rtol=1e-5)


# --- Gluon ------------------------------------------------------------------------------------------------------------

class Line(gluon.HybridBlock):
    def __init__(self, devices=1):
        super().__init__(prefix="")
        self.line = gluon.nn.Dense(1, use_bias=False, in_units=2, prefix="line_")
        self.initialize(ctx=contexts(devices))
        self.line.weight.set_data(mx.nd.array([[1.0, -1.0]]))

    def hybrid_forward(self, F, x):
        return self.line(x).reshape((-1,))


def group(devices=1):
    """Half the square error, its weight by schedule."""
    losses = mxloss.LossGroup({"square": gluon.loss.L2Loss(), "plain": gluon.loss.L1Loss()},
                              weights={"square": PiecewiseLinear(CORNERS), "plain": 0}, prefix="group_")
    losses.initialize(ctx=contexts(devices))
    return losses


def trainer(net, losses, **options):
    return gluon.Trainer({**net.collect_params(), **losses.collect_params()}, "sgd", {"learning_rate": LR}, **options)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(("devices", "options"), [(1, {}), (2, {}), (2, {"update_on_kvstore": False})])
def test_a_group_has_the_weight_of_each_step(devices, options, hybridize):
    net, losses = Line(devices), group(devices)
    for block in (net, losses):
        block.hybridize(hybridize)
    made, reached = trainer(net, losses, **options), []
    for _ in range(2):
        for batch in data():
            assert losses.weights == {"square": BY_HAND[len(reached)], "plain": 0}
            reached.append(mxloss.train_step(net, losses, made, batch)["square"].asnumpy().mean())
    expected, weight = by_hand(6)
    np.testing.assert_allclose(reached, expected, rtol=1e-5)
    np.testing.assert_allclose(net.line.weight.list_data()[0].asnumpy()[0], weight, rtol=1e-5)
    for own in losses.collect_params()["group_square_scheduled_weight"].list_data():
        assert own.asnumpy().tolist() == [BY_HAND[6], 6]


BLOCKS = {
    "softmax": (lambda weight: mxloss.SoftmaxLoss(weight=weight), ()),
    "smooth_l1": (lambda weight: mxloss.SmoothL1Loss(weight=weight), (4,)),
    "center": (lambda weight: mxloss.CenterLoss(4, 4, weight=weight), ()),
}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_every_loss_takes_a_schedule(name, hybridize, rng):
    """Like the same loss whose weight is the number of each step, in a network that is hybridized as a whole."""
    make, shape = BLOCKS[name]
    data = mx.nd.array(rng.rand(3, 4))
    label = mx.nd.array(rng.rand(3, *shape) if shape else rng.randint(0, 4, 3))
    scheduled, results = make(PiecewiseLinear(CORNERS)), []
    scheduled.initialize()
    scheduled.hybridize(hybridize)
    optimizer = {"base": "sgd", "learning_rate": 0.0} if name == "center" else {"learning_rate": 0.0}
    made = gluon.Trainer(scheduled.collect_params(), "withcenters" if name == "center" else "sgd", optimizer)
    other = make(1.0)
    other.initialize()
    if name == "center":
        other_trainer = gluon.Trainer(other.collect_params(), "withcenters", optimizer)
    for step in range(6):
        inputs = [data.copy(), data.copy()]
        for array in inputs:
            array.attach_grad()
        with autograd.record():
            losses = [block(array, label) for block, array in zip((scheduled, other), inputs)]
        autograd.backward(losses)
        results.append((losses[0] / losses[1]).asnumpy())
        np.testing.assert_allclose(results[-1], np.full(3, BY_HAND[step]), rtol=1e-5)
        np.testing.assert_allclose(inputs[0].grad.asnumpy(), BY_HAND[step] * inputs[1].grad.asnumpy(), rtol=1e-5)
        made.step(3)
        if name == "center":
            other_trainer.step(3)
            np.testing.assert_allclose(scheduled.class_centers().asnumpy(), other.class_centers().asnumpy(), rtol=1e-6)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_loss_takes_a_schedule_in_a_symbol(name, rng):
    make, shape = BLOCKS[name]
    made = make(WarmUp(1, 4))
    symbol = made(mx.sym.var("pred"), mx.sym.var("label"))
    assert [aux for aux in symbol.list_auxiliary_states() if aux.endswith("scheduled_weight")] == [
        made.prefix + "scheduled_weight"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("hybridize", [False, True])
def test_a_weighted_loss_is_of_any_number_type(dtype, hybridize):
    weighted = mxloss.Weighted(WarmUp(1, 2, 0.5))
    weighted.initialize()
    weighted.hybridize(hybridize)
    loss = weighted(mx.nd.array([[1, 2], [3, 4]], dtype=dtype))
    assert np.dtype(loss.dtype).name == dtype
    assert loss.asnumpy().tolist() == [[0.5, 1], [1.5, 2]]


def test_a_step_of_gathered_gradients_is_one_step():
    weighted = mxloss.Weighted(PiecewiseLinear(CORNERS))
    weighted.initialize()
    made = gluon.Trainer(weighted.collect_params(), "sgd")
    for _ in range(3):
        with autograd.record():
            for _ in range(4):
                weighted(mx.nd.ones(2))
        made.allreduce_grads()
        made.update(2)
    assert weighted.now == BY_HAND[3]


def test_without_a_trainer_it_is_an_error_to_learn_from_it():
    net, losses = Line(), group()
    alone = gluon.Trainer(net.collect_params(), "sgd")
    with autograd.record(), pytest.raises(ValueError, match="`weight` must be among the parameters of the Trainer"):
        losses(net(mx.nd.ones((1, 2))), mx.nd.ones(1))
    assert losses(net(mx.nd.ones((1, 2))), mx.nd.ones(1))[1]["square"].shape == (1,)  # to look at is no error
    assert alone is not None


def test_parameters_that_are_loaded_bring_their_step_along(tmp_path):
    weighted = mxloss.Weighted(PiecewiseLinear(CORNERS))
    weighted.initialize()
    made = gluon.Trainer(weighted.collect_params(), "sgd")
    made.step(1)
    made.step(1)
    weighted.save_parameters(str(tmp_path / "params"))
    made.step(1)
    weighted.load_parameters(str(tmp_path / "params"))
    assert weighted.now == BY_HAND[2]
    made.step(1)
    assert weighted(mx.nd.ones(1)).asscalar() == BY_HAND[3]


def test_a_number_takes_the_place_of_a_schedule():
    losses = group()
    losses.set_weight("square", 3)
    assert losses.weights == {"square": 3.0, "plain": 0.0}
    center = mxloss.CenterLoss(3, 2, weight=WarmUp(1, 4))
    with pytest.raises(ValueError, match="CenterLoss: `weight` must be left to its schedule, got 0.5"):
        center.weight = 0.5


def test_an_exported_network_goes_on_with_its_schedule(tmp_path):
    net = gluon.nn.HybridSequential(prefix="")
    net.add(gluon.nn.HybridLambda(lambda F, x: x * 2),
            mxloss.Weighted(PiecewiseLinear(CORNERS)))
    net.initialize()
    net.hybridize()
    made = gluon.Trainer(net.collect_params(), "sgd")
    net(mx.nd.ones(2))
    made.step(1)
    net.export(str(tmp_path / "net"))
    again = gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    trainer = gluon.Trainer(again.collect_params(), "sgd")
    for step in (1, 2, 3):
        assert again(mx.nd.ones(2)).asnumpy().tolist() == [2 * BY_HAND[step]] * 2
        trainer.step(1)
    assert "[1, 0.25]" in json.dumps(mx.sym.load(str(tmp_path / "net-symbol.json")).attr_dict())


# --- Estimator --------------------------------------------------------------------------------------------------------

def estimated(path=None, **options):
    net, losses = Line(2), group(2)
    made = mxloss.estimator.Estimator(net, losses, trainer=trainer(net, losses))
    made.logger.setLevel("WARNING")
    outcome = made.fit(data(), epochs=2, checkpoint=path, **options)
    return outcome, net.line.weight.list_data()[0].asnumpy(), losses.weights["square"]


@pytest.mark.parametrize("batches", [1, 3, 4])
def test_a_resumed_estimator_goes_on_where_it_was(tmp_path, batches):
    straight = estimated()
    np.testing.assert_allclose(straight[1][0], by_hand(6)[1], rtol=1e-5)
    assert straight[2] == BY_HAND[6]
    estimated(tmp_path, stop=After(batches))
    resumed = estimated(tmp_path, resume=True, stop=Target("square", -1, direction="min"))
    np.testing.assert_array_equal(resumed[1], straight[1])
    assert resumed[2] == straight[2]
