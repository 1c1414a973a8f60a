"""Margin softmax: the three papers' margins, the edges of acos, and the head that owns the directions."""
import math

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.loss.margin_softmax import cosines


def margin_softmax_loop(feature, label, direction, scale, m1, m2, m3):
    """One loss per sample from angles, written from the papers; beyond pi as SphereFace continues psi."""
    losses = []
    for x, y in zip(np.asarray(feature, dtype="float64"), label):
        cosine = [float(np.dot(x, w) / math.sqrt(np.dot(x, x)) / math.sqrt(np.dot(w, w))) for w in direction]
        wide = m1 * math.acos(cosine[int(y)]) + m2
        k = math.floor(wide / math.pi)
        logits = [scale * c for c in cosine]
        logits[int(y)] = scale * ((-1) ** k * math.cos(wide) - 2 * k - m3)
        losses.append(math.log(sum(math.exp(z) for z in logits)) - logits[int(y)])
    return np.array(losses)


def faces(rng, dtype):
    """Features of different lengths and labels."""
    return {"feature": (rng.randn(6, 3) * [[1], [5], [0.1], [2], [1], [3]]).astype(dtype),
            "label": np.array([4, 0, 1, 1, 0, 3], dtype="float32")}


def directions(rng):
    return {"direction_weight": rng.randn(5, 3)}


def face_loop(feature, label):
    """The case of the conformance test."""
    direction = directions(np.random.RandomState(7))["direction_weight"]
    return margin_softmax_loop(feature, label, direction, scale=4, m1=1.5, m2=0.3, m3=0.1)


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(("margins", "own"), [
    ((1, 0, 0), 0.5),  # 60 degrees
    ((1, 0, 0.35), 0.15),  # CosFace
    ((1, math.pi / 6, 0), 0.0),  # ArcFace: 60 + 30 degrees
    ((2, 0, 0), -0.5),  # SphereFace: 120 degrees
    ((4, 0, 0), -1.5),  # SphereFace: 240 degrees, k = 1: -cos 240 - 2
    ((2, math.pi / 6, 0.1), math.cos(math.radians(150)) - 0.1),
])
def test_golden_values_by_hand(margins, own):
    m1, m2, m3 = margins
    loss = mxloss.margin_softmax_loss(mx.nd.array([[0.5, 0.25]], dtype="float64"), mx.nd.array([0]), scale=2, m1=m1,
                                      m2=m2, m3=m3)
    assert loss.asscalar() == pytest.approx(softplus(2 * (0.25 - own)), rel=1e-9)


@pytest.mark.parametrize("margins", [(1, 0.5, 0), (4, 0, 0), (1.5, 0.3, 0.2), (3, 3, 0)])
def test_the_loss_grows_with_the_angle_all_the_way(margins):
    m1, m2, m3 = margins
    cosine = np.cos(np.linspace(1e-3, math.pi - 1e-3, 400))
    rows = mx.nd.array(np.stack([cosine, np.zeros(400)], axis=1), dtype="float64")
    loss = mxloss.margin_softmax_loss(rows, mx.nd.zeros(400), scale=8, m1=m1, m2=m2, m3=m3).asnumpy()
    assert (np.diff(loss) >= 0).all()
    assert np.abs(np.diff(loss)).max() < 8 * (m1 * math.pi / 400) * 1.1  # and without a jump


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("margins", [(1, 0.5, 0), (4, 0, 0), (1, 0, 0.35)])
def test_the_edges_of_acos_are_safe(dtype, margins):
    m1, m2, m3 = margins
    head = mxloss.MarginSoftmaxLoss(3, 2, m1=m1, m2=m2, m3=m3, dtype=dtype)
    head.initialize()
    head.direction_weight.set_data(mx.nd.array([[3., 4.], [1., 1e-4], [-0.1, 0.]], dtype=dtype))
    # aligned with the own class, opposite to it, nearly aligned, and no direction at all
    feature = mx.nd.array([[3., 4.], [-6., -8.], [1., 1.001e-4], [0., 0.]], dtype=dtype)
    feature.attach_grad()
    with mx.autograd.record():
        loss = head(feature, mx.nd.array([0, 0, 1, 2]))
    loss.backward()
    for array in (loss, feature.grad, head.direction_weight.grad()):
        assert np.isfinite(array.asnumpy()).all()
    assert loss.asnumpy()[1] > 64  # the worst angle
    np.testing.assert_array_equal(feature.grad.asnumpy()[3], [0, 0])
    assert np.abs(feature.grad.asnumpy()[:3]).max() < 64 * 20  # scale / length at most, times m1^2


def test_the_length_of_a_feature_does_not_matter(rng):
    head = mxloss.MarginSoftmaxLoss(5, 3, dtype="float64")
    head.initialize()
    feature, label = mx.nd.array(rng.randn(6, 3), dtype="float64"), mx.nd.array([4, 0, 1, 1, 0, 3])
    np.testing.assert_allclose(head(feature * 1000, label).asnumpy(), head(feature, label).asnumpy(), rtol=1e-9)


def test_gradient_of_the_directions(rng):
    inputs, direction = faces(rng, "float64"), directions(rng)["direction_weight"]
    head = mxloss.MarginSoftmaxLoss(5, 3, scale=4, m1=1.5, m2=0.3, m3=0.1, dtype="float64")
    head.initialize()
    head.direction_weight.set_data(mx.nd.array(direction, dtype="float64"))
    with mx.autograd.record():
        loss = head(mx.nd.array(inputs["feature"], dtype="float64"), mx.nd.array(inputs["label"]))
    loss.backward()
    gradient = head.direction_weight.grad().asnumpy()
    for at in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[at] = 1e-6
        up, down = (margin_softmax_loop(*inputs.values(), direction + sign * step, 4, 1.5, 0.3, 0.1).sum()
                    for sign in (1, -1))
        assert gradient[at] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-7)


def test_scores_are_the_softmaxs_without_a_margin_for_arrays_and_symbols(rng):
    head = mxloss.MarginSoftmaxLoss(5, 3, scale=10, prefix="face_")
    head.initialize()
    feature = mx.nd.array(rng.randn(4, 3))
    expected = 10 * cosines(feature, head.direction_weight.data()).asnumpy()
    np.testing.assert_allclose(head.scores(feature).asnumpy(), expected)
    data = mx.sym.var("data")
    net = mx.sym.Group([head(data, mx.sym.var("label")), head.scores(data)])
    assert net.list_arguments().count("face_direction_weight") == 1
    executor = net.bind(mx.cpu(), {"data": feature, "label": mx.nd.zeros(4),
                                   "face_direction_weight": head.direction_weight.data()})
    np.testing.assert_allclose(executor.forward()[1].asnumpy(), expected, rtol=1e-6)


def test_float16_features_are_cast(rng):
    head = mxloss.MarginSoftmaxLoss(5, 3)
    head.initialize()
    feature = mx.nd.array(rng.randn(4, 3), dtype="float16")
    assert head(feature, mx.nd.zeros(4)).dtype == np.float32


def test_an_ignored_face_costs_nothing(rng):
    head = mxloss.MarginSoftmaxLoss(5, 3, ignore_label=-1)
    head.initialize()
    feature = mx.nd.array(rng.randn(2, 3))
    feature.attach_grad()
    with mx.autograd.record():
        loss = head(feature, mx.nd.array([-1, 2]))
    loss.backward()
    assert loss.asnumpy()[0] == 0 != loss.asnumpy()[1]
    np.testing.assert_array_equal(feature.grad.asnumpy()[0], [0, 0, 0])


def test_features_of_another_size_are_refused_in_words():
    head = mxloss.MarginSoftmaxLoss(5, 3)
    with pytest.raises(ValueError, match=r"MarginSoftmaxLoss: `feature` must be of shape \(4, 3\), got \(4, 2\)"):
        head(mx.nd.zeros((4, 2)), mx.nd.zeros(4))
    with pytest.raises(ValueError, match="MarginSoftmaxLoss: `num_class` must be a whole number >= 1, got 0"):
        mxloss.MarginSoftmaxLoss(0, 3)
