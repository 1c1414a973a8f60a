"""Smooth L1: eq. 3 of Fast R-CNN with sigma and both weights, its normalizations and its operator."""
import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.functional import item_weight
from tests.loss.training import step_of


def smooth_l1_loop(pred, label, inside, outside, sigma):
    """One loss per element, written from the papers."""
    losses = np.zeros(pred.shape)
    for at in np.ndindex(*pred.shape):
        d = float(inside[at]) * (float(pred[at]) - float(label[at]))
        near = abs(d) < 1 / sigma ** 2
        losses[at] = float(outside[at]) * (0.5 * (sigma * d) ** 2 if near else abs(d) - 0.5 / sigma ** 2)
    return losses


def boxes(rng, shape=(4, 3, 8), dtype="float64"):
    """Predictions, targets, inside weights (0 or 1) and outside weights; every fifth prediction is far off."""
    pred = rng.randn(*shape)
    pred.reshape(-1)[::5] *= 9
    inside = (rng.rand(*shape) < 0.7) * 1.0
    return [array.astype(dtype) for array in (pred, rng.randn(*shape) / 2, inside, rng.rand(*shape) * 2)]


def box_inputs(rng, dtype):
    """What the block takes, by name."""
    return dict(zip(("pred", "label", "inside_weight", "outside_weight"), boxes(rng, dtype=dtype)))


def box_loop(*arrays):
    """One loss per sample at sigma 1.5."""
    return smooth_l1_loop(*arrays, sigma=1.5).sum(axis=(1, 2))


def test_golden_values_by_hand():
    pred, label = mx.nd.array([[0.2, 3.0], [-1.0, 0.5]]), mx.nd.array([[0.0, 1.0], [1.0, 0.5]])
    # near: 0.04 / 2 = 0.02; far: 2 - 0.5 = 1.5; far: 2 - 0.5 = 1.5; equal: 0
    np.testing.assert_allclose(mxloss.smooth_l1_loss(pred, label).asnumpy(), [[0.02, 1.5], [1.5, 0]], rtol=1e-6)
    np.testing.assert_allclose(mxloss.SmoothL1Loss()(pred, label).asnumpy(), [1.52, 1.5], rtol=1e-6)
    # sigma 3: the square ends at 1/9, so 0.2 costs 0.2 - 1/18
    np.testing.assert_allclose(mxloss.smooth_l1_loss(pred, label, sigma=3.0).asnumpy(),
                               [[0.2 - 1 / 18, 2 - 1 / 18], [2 - 1 / 18, 0]], rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_gradient_is_continuous_where_the_square_ends(sigma):
    edge = 1 / sigma ** 2
    pred = mx.nd.array(np.array([-edge * 1.001, -edge * 0.999, edge * 0.999, edge * 1.001]), dtype="float64")
    pred.attach_grad()
    with mx.autograd.record():
        loss = mxloss.smooth_l1_loss(pred, mx.nd.zeros_like(pred), sigma=sigma)
    loss.backward()
    np.testing.assert_allclose(pred.grad.asnumpy(), [-1, -1, 1, 1], rtol=2e-3)
    np.testing.assert_allclose(loss.asnumpy(), np.full(4, edge / 2), rtol=3e-3)


# --- normalizations: gradient and reported value --------------------------------------------------------------------

NORMALIZATIONS = {
    "batch": ("batch", lambda losses, foreground: losses.sum() / len(losses)),
    "regions": ("regions", lambda losses, foreground: losses.sum() / foreground.size),
    "number": (7.0, lambda losses, foreground: losses.sum() / len(losses) / 7),
    "foreground": ("regions", lambda losses, foreground: losses[foreground].sum() / foreground.sum()),
}


@pytest.mark.parametrize("case", NORMALIZATIONS)
def test_normalizations_agree_in_value_and_gradient_and_on_any_devices(rng, case):
    normalization, expected = NORMALIZATIONS[case]
    pred, label, inside, outside = boxes(rng, dtype="float32")
    foreground = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)  # uneven over the devices
    if case == "foreground":
        outside = np.broadcast_to(item_weight(foreground)[:, :, None], pred.shape)
    else:
        foreground[:] = True
    plain = smooth_l1_loop(pred, label, inside, outside if case != "foreground" else np.ones(pred.shape), 3.0)
    block = mxloss.SmoothL1Loss(sigma=3.0, normalization=normalization)
    inputs = {"pred": pred, "label": label, "inside_weight": inside, "outside_weight": outside}
    steps = [step_of(block, inputs, devices) for devices in (1, 2, 4)]
    for value, gradient in steps:
        assert value == pytest.approx(expected(plain, foreground), rel=1e-5)
        # the gradient of that value, by differences: the step is along it
        np.testing.assert_allclose(gradient, steps[0][1], rtol=1e-5, atol=1e-7)
    epsilon, direction = 1e-6, rng.randn(*pred.shape[1:])
    up, down = (smooth_l1_loop(pred + sign * epsilon * direction, label, inside,
                               outside if case != "foreground" else np.ones(pred.shape), 3.0) for sign in (1, -1))
    slope = (expected(up, foreground) - expected(down, foreground)) / (2 * epsilon)
    assert (steps[0][1] * direction).sum() == pytest.approx(slope, rel=1e-4)


def test_regions_need_an_axis_of_their_own_also_in_a_graph():
    block = mxloss.SmoothL1Loss(normalization="regions")
    with pytest.raises(ValueError, match=r"`pred` must be \(batch, regions, coordinates\), got \(2, 8\)"):
        block(mx.nd.zeros((2, 8)), mx.nd.zeros((2, 8)))
    with pytest.raises(mx.base.MXNetError):
        block(mx.sym.var("pred"), mx.sym.var("label")).infer_shape(pred=(2, 8), label=(2, 8))


@pytest.mark.parametrize("name", ["inside_weight", "outside_weight"])
def test_a_weight_for_each_region_needs_its_axis_of_coordinates_also_in_a_graph(name):
    """With as many regions as coordinates MXNet would take the regions' weights for those of the coordinates."""
    block = mxloss.SmoothL1Loss(normalization="regions")
    shapes = {"pred": (2, 3, 3), "label": (2, 3, 3)}
    with pytest.raises(ValueError, match=r"`{}` must be of shape \(2, 3, 3\), or 1 along some axes".format(name)):
        block(**{key: mx.nd.zeros(shape) for key, shape in dict(shapes, **{name: (3, 3)}).items()})
    loss = block(**{key: mx.sym.var(key) for key in [*shapes, name]})
    assert loss.infer_shape(**shapes, **{name: (2, 3, 1)})[1] == [(2,)]
    with pytest.raises(mx.base.MXNetError):
        loss.infer_shape(**shapes, **{name: (3, 3)})


# --- the operator -----------------------------------------------------------------------------------------------------

def operator(**attributes):
    names = ("pred", "label", "inside_weight", "outside_weight")
    return mx.sym.Custom(op_type="smooth_l1_loss", name="box", **{name: mx.sym.var(name) for name in names},
                         **attributes)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("grad_scale", [1.0, 0.125])
def test_the_operator_is_the_formula_and_heeds_what_stands_above_it(rng, dtype, grad_scale):
    arrays = [mx.nd.array(array, dtype=dtype) for array in boxes(rng, (3, 8))]
    executor = mx.sym.MakeLoss(operator(sigma=2), grad_scale=grad_scale).bind(
        mx.cpu(), arrays, [mx.nd.zeros_like(array) for array in arrays])
    executor.forward(is_train=True)
    executor.backward()
    for array in arrays:
        array.attach_grad()
    with mx.autograd.record():
        loss = mxloss.smooth_l1_loss(*arrays, sigma=2)
    loss.backward(mx.nd.full(loss.shape, grad_scale, dtype=dtype))
    np.testing.assert_array_equal(executor.outputs[0].asnumpy(), loss.asnumpy())
    for got, array in zip(executor.grad_arrays, arrays):
        np.testing.assert_array_equal(got.asnumpy(), array.grad.asnumpy())
    reference = smooth_l1_loop(*[array.asnumpy() for array in arrays], sigma=2)
    np.testing.assert_allclose(loss.asnumpy(), reference, rtol={"float16": 1e-2}.get(dtype, 1e-5), atol=1e-3)


def test_gradients_of_the_operator_add_up_where_that_is_asked_for(rng):
    arrays = [mx.nd.array(array) for array in boxes(rng, (3, 8))]
    gradients = [mx.nd.zeros_like(array) for array in arrays]
    executor = mx.sym.MakeLoss(operator()).bind(mx.cpu(), arrays, gradients, grad_req="add")
    for _ in range(2):
        executor.forward(is_train=True)
        executor.backward()
    twice = gradients[0].asnumpy()
    gradients[0][:] = 0
    executor.forward(is_train=True)
    executor.backward()
    np.testing.assert_allclose(twice, 2 * gradients[0].asnumpy(), rtol=1e-6)


@pytest.mark.parametrize(("attributes", "shapes", "words"), [
    ({"sigma": 0}, {}, r"smooth_l1_loss: `sigma` must be a finite number > 0, got 0.0"),
    ({"sigma": "wide"}, {}, r"smooth_l1_loss: `sigma` must be a number, got 'wide'"),
    ({"rois": 3}, {}, r"smooth_l1_loss: unknown attribute `rois`, known are `sigma`"),
])
def test_the_operator_refuses_attributes_in_words(attributes, shapes, words, capfd):
    with pytest.raises(mx.base.MXNetError):
        operator(**attributes).list_arguments()
    assert words.replace("\\", "") in "".join(capfd.readouterr())


def test_the_operator_refuses_weights_of_another_shape(capfd):
    with pytest.raises(mx.base.MXNetError):
        operator().infer_shape(pred=(2, 8), inside_weight=(2, 4))
    assert "smooth_l1_loss: `inside_weight` must be of shape (2, 8), got (2, 4)" in "".join(capfd.readouterr())
