"""Weights by schedule: the formula, what is refused, what a block makes of them. See also optimizer/test_step.py."""
import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss import LossGroup, PiecewiseLinear, ScheduledWeight, SoftmaxLoss, WarmUp, piecewise_linear
from tests.schedule_training import by_hand

POINTS = [(2, 0.3), (5, 0.1), (6, 2.0), (12, 0.0)]


def test_the_weight_is_that_between_the_points():
    schedule = PiecewiseLinear(POINTS)
    for step in range(15):
        assert schedule(step) == pytest.approx(by_hand(POINTS, step), abs=1e-15)
    for step, weight in POINTS:
        assert schedule(step) == weight  # to the bit, so that 0 is off
    assert [schedule(0), schedule(10 ** 9)] == [0.3, 0.0]


def test_numbers_arrays_and_symbols_have_one_formula():
    steps = np.arange(15.0)
    arrays = {"step": mx.nd.array(steps, dtype="float64")}
    array = piecewise_linear(arrays["step"], POINTS)
    executor = piecewise_linear(mx.sym.var("step"), POINTS).bind(mx.cpu(), arrays)
    wanted = [piecewise_linear(step, POINTS) for step in steps]
    np.testing.assert_array_equal(array.asnumpy(), wanted)
    np.testing.assert_array_equal(executor.forward()[0].asnumpy(), wanted)


def test_a_single_point_is_a_constant():
    assert PiecewiseLinear([(5, 0.25)])(0) == PiecewiseLinear([(5, 0.25)])(9) == 0.25
    np.testing.assert_array_equal(piecewise_linear(mx.nd.array([0, 9]), [(5, 0.25)]).asnumpy(), [0.25, 0.25])


def test_a_warm_up_is_a_line_and_a_level():
    assert [WarmUp(0.5, steps=4)(step) for step in range(6)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert [WarmUp(0.5, steps=2, begin=1.0)(step) for step in range(4)] == [1.0, 0.75, 0.5, 0.5]
    assert WarmUp(0.5, 4) == PiecewiseLinear([(0, 0), (4, 0.5)]) != WarmUp(0.5, 5)
    assert repr(WarmUp(0.5, 4)) == "WarmUp(0.5, steps=4, begin=0.0)"


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: PiecewiseLinear([]), ValueError, r"PiecewiseLinear: `points` must be a list of at least one pair .*\[\]"),
    (lambda: PiecewiseLinear(0.5), TypeError, r"PiecewiseLinear: `points` must be a list of at least one pair .*0.5"),
    (lambda: PiecewiseLinear([0.5]), TypeError, r"PiecewiseLinear: `points` must be a list of at least one pair"),
    (lambda: PiecewiseLinear([(5, 1), (5, 2)]), ValueError, "`points` must be of steps that increase, got 5 behind 5"),
    (lambda: PiecewiseLinear([(5, 1), (4, 2)]), ValueError, "`points` must be of steps that increase, got 4 behind 5"),
    (lambda: PiecewiseLinear([(-1, 1)]), ValueError, "PiecewiseLinear: `step` must be a whole number >= 0, got -1"),
    (lambda: PiecewiseLinear([(0.5, 1)]), TypeError, "PiecewiseLinear: `step` must be a whole number, got 0.5"),
    (lambda: PiecewiseLinear([(0, 1), (7, np.nan)]), ValueError, "`weight at step 7` must be a finite number, got nan"),
    (lambda: PiecewiseLinear([(0, "1")]), TypeError, "`weight at step 0` must be a number, got '1'"),
    (lambda: WarmUp(np.inf, steps=5), ValueError, "WarmUp: `weight` must be a finite number, got inf"),
    (lambda: WarmUp(1, steps=0), ValueError, "WarmUp: `steps` must be a whole number >= 1, got 0"),
    (lambda: WarmUp(1, steps=2, begin="0"), TypeError, "WarmUp: `begin` must be a number, got '0'"),
    (lambda: SoftmaxLoss(weight=WarmUp(-1, steps=2)), ValueError,
     r"SoftmaxLoss: `weight` must be a schedule of weights >= 0, got WarmUp\(-1.0, steps=2, begin=0.0\)"),
    (lambda: mxloss.CenterLoss(3, 2, weight=PiecewiseLinear([(0, 1), (2, -1), (3, 1)])), ValueError,
     "CenterLoss: `weight` must be a schedule of weights >= 0"),
    (lambda: SoftmaxLoss(weight=lambda step: 1), TypeError, "SoftmaxLoss: `weight` must be a number or a schedule"),
    (lambda: LossGroup({"a": SoftmaxLoss()}, weights={"a": max}), TypeError,
     "LossGroup: `weight of a` must be a number or a schedule, got <built-in"),
    (lambda: ScheduledWeight(0.5), TypeError, "ScheduledWeight: `schedule` must be a WarmUp or a PiecewiseLinear, got"),
    (lambda: mxloss.CenterLoss(3, 2, weight=WarmUp(1, 5)).set_weight(2), ValueError,
     r"CenterLoss: `weight` must be left to its schedule, WarmUp\(1.0, steps=5, begin=0.0\), got 2"),
])
def test_bad_schedules_are_refused_in_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_number_needs_no_parameter():
    assert list(SoftmaxLoss(weight=0.5).collect_params()) == []
    assert list(SoftmaxLoss(weight=WarmUp(1, 5), prefix="a_").collect_params()) == ["a_step"]
    assert sorted(mxloss.CenterLoss(3, 2, weight=WarmUp(1, 5), prefix="a_").collect_params()) == ["a_centers", "a_step"]


def losses_at(block, loss, step, way):
    """What a ScheduledWeight makes of losses `loss` after `step` steps, and the gradient."""
    if way == "symbol":
        net = mx.sym.load_json(mx.sym.MakeLoss(block(mx.sym.var("loss") * 2)).tojson())
        executor = net.simple_bind(mx.cpu(), loss=loss.shape, type_dict={"loss": loss.dtype})
        executor.arg_dict["loss"][:] = loss
        executor.aux_dict[block.step.name][:] = step
        executor.forward(is_train=True)
        executor.backward()
        return executor.outputs[0].asnumpy(), executor.grad_dict["loss"].asnumpy()
    block.initialize()
    mx.gluon.Trainer(block.collect_params(), "sgd")
    block.step.set_data(mx.nd.array([step], dtype="float64"))
    block.hybridize(way == "hybridized")
    variable = mx.nd.array(loss, dtype=loss.dtype)
    variable.attach_grad()
    with mx.autograd.record():
        value = block(variable * 2)
    value.backward()
    return value.asnumpy(), variable.grad.asnumpy()


@pytest.mark.parametrize("way", ["imperative", "hybridized", "symbol"])
@pytest.mark.parametrize(("dtype", "wanted", "tolerance"), [
    ("float16", "float32", 2e-3), ("float32", "float32", 1e-7), ("float64", "float64", 1e-15)])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1,)])
def test_any_loss_is_weighted_in_its_own_type(way, dtype, wanted, tolerance, shape, rng):
    loss = rng.normal(0, 1, shape).astype(dtype)
    for step in (0, 3, 7):
        value, gradient = losses_at(ScheduledWeight(PiecewiseLinear(POINTS)), loss, step, way)
        weight = by_hand(POINTS, step)
        assert (value.dtype, gradient.dtype) == (np.dtype(wanted), np.dtype(dtype))
        np.testing.assert_allclose(value, 2 * weight * loss.astype("float64"), rtol=tolerance)
        np.testing.assert_allclose(gradient, np.full(shape, 2 * weight), rtol=tolerance)


def test_the_weight_of_now_can_be_read():
    block = mxloss.CenterLoss(3, 2, weight=WarmUp(1.0, steps=4))
    assert block.weight == 0
    block.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    block.collect_params()[block.prefix + "step"].set_data(mx.nd.array([3], dtype="float64"))
    assert block.weight == 0.75


def test_blocks_that_share_parameters_share_the_count():
    one = SoftmaxLoss(weight=WarmUp(1, 4))
    other = SoftmaxLoss(weight=WarmUp(2, 4), params=one.collect_params())
    assert list(one.collect_params().values())[0] is list(other.collect_params().values())[0]


def test_a_network_that_is_cast_counts_in_float64_on():
    block = SoftmaxLoss(weight=WarmUp(1, 4))
    block.cast("float16")
    assert [parameter.dtype for parameter in block.collect_params().values()] == ["float64"]


@pytest.mark.parametrize("hybridize", [False, True])
def test_training_without_a_trainer_that_counts_is_an_error(hybridize):
    class Parent(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.loss = SoftmaxLoss(weight=WarmUp(1, 4), prefix="softmax_")

        def hybrid_forward(self, F, pred, label):
            return self.loss(pred, label)

    parent, arrays = Parent(), (mx.nd.ones((2, 3)), mx.nd.array([0, 1]))
    parent.initialize()
    parent.hybridize(hybridize)
    parent(*arrays)  # traced, in evaluation, which needs no Trainer
    with mx.autograd.record(train_mode=False):
        parent(*arrays)
    for _ in range(2):
        with pytest.raises(ValueError, match="`softmax_step` must be among the parameters of the Trainer, "), \
                mx.autograd.record():
            parent(*arrays)
    mx.gluon.Trainer(parent.collect_params(), "sgd")
    with mx.autograd.record():
        parent(*arrays)


def test_a_group_changes_numbers_into_schedules_and_back():
    losses = LossGroup({"a": mx.gluon.loss.L2Loss(), "b": mx.gluon.loss.L1Loss()}, weights={"a": WarmUp(1.0, 4)})
    losses.initialize()
    losses.hybridize()
    losses.collect_params()[losses.prefix + "a_weight_step"].set_data(mx.nd.array([2], dtype="float64"))
    arrays = mx.nd.array([[2.], [4.]]), mx.nd.array([[0.], [0.]])
    for weight, now in ((WarmUp(1.0, 4), 0.5), (WarmUp(3.0, 4), 1.5), (0.25, 0.25), (PiecewiseLinear([(2, 7)]), 7)):
        losses.set_weight("a", weight)
        assert losses.weights == {"a": weight, "b": 1.0}
        total, values = losses(*arrays)
        np.testing.assert_allclose(values["a"].asnumpy(), [2 * now, 8 * now])
        np.testing.assert_allclose(total.asnumpy(), [2 * now + 2, 8 * now + 4])
    assert len(list(losses.collect_params())) == 1


def test_a_group_of_sixteen_bits_stays_one():
    losses = LossGroup({"a": mx.gluon.loss.L2Loss(), "b": mx.gluon.loss.L1Loss()}, weights={"a": WarmUp(1.0, 4)})
    losses.initialize()
    total, _ = losses(*[mx.nd.ones((2, 3), dtype="float16")] * 2)
    assert total.dtype == np.float16


def test_a_penalty_may_have_a_schedule():
    net = mxloss.WithPenalties(mxloss.ActivityPenalty(weight=1.0, order=1))
    losses = LossGroup({"a": mx.gluon.loss.L2Loss()}, penalties="activity", weights={"activity": WarmUp(1.0, 4)})
    losses.initialize()
    losses.collect_params()[losses.prefix + "activity_weight_step"].set_data(mx.nd.array([3], dtype="float64"))
    _, values = losses(net(mx.nd.array([[2.], [4.]])), mx.nd.array([[0.], [0.]]))
    np.testing.assert_allclose(values["activity"].asnumpy(), [1.5, 3])
