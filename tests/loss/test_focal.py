"""Focal loss: eq. 5 of the paper, safe far out, right at score 0, with the background of MultiBoxTarget."""
import math

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.functional import item_weight


def focal_loop(pred, label, alpha, gamma, ignore_label=-1):
    """One loss per item, classes along the last axis, written from the paper."""
    pred, label = np.asarray(pred, dtype="float64"), np.asarray(label)
    losses = np.zeros(label.shape)
    for at in np.ndindex(*label.shape):
        if label[at] == ignore_label:
            continue
        for k, score in enumerate(pred[at]):
            p = 1 / (1 + math.exp(-score))
            p_t, alpha_t = (p, alpha) if k == label[at] else (1 - p, 1 - alpha)
            losses[at] -= alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    return losses


def anchors(rng, dtype):
    """Scores (batch, anchor, class) and labels with some ignored."""
    label = rng.randint(0, 4, (6, 5))
    label[rng.rand(6, 5) < 0.2] = -1
    label[0, 2] = 3
    return {"pred": (rng.randn(6, 5, 4) * 2).astype(dtype), "label": label.astype("float32")}


def test_golden_values_by_hand():
    score = math.log(3)  # probabilities 3/4 and 1/4
    pred, label = mx.nd.array([[score, -score], [-score, score]], dtype="float64"), mx.nd.array([0, 0])
    easy, hard = 1 / 16 * math.log(4 / 3), 9 / 16 * math.log(4)
    np.testing.assert_allclose(mxloss.focal_loss(pred, label).asnumpy(),
                               [0.25 * easy + 0.75 * easy, 0.25 * hard + 0.75 * hard], rtol=1e-9)
    cross_entropy = mxloss.focal_loss(pred, label, alpha=0.5, gamma=0).asnumpy()
    np.testing.assert_allclose(cross_entropy, [math.log(4 / 3), math.log(4)], rtol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_and_gradient_are_finite_and_right_far_out_and_at_zero(dtype, gamma):
    scores = [-300., -90., -20., 0., 20., 90., 300.]
    pred = mx.nd.array([[score] for score in scores], dtype=dtype)
    pred.attach_grad()
    with mx.autograd.record():
        loss = mxloss.focal_loss(pred, mx.nd.zeros(len(scores)), alpha=1.0, gamma=gamma)
    loss.backward()
    assert np.isfinite(pred.grad.asnumpy()).all()
    np.testing.assert_allclose(loss.asnumpy()[:4], [300, 90, 20, 0.5 ** gamma * math.log(2)], rtol=1e-6)
    # at 0: d/dz [-(1 - p)^gamma log p] = (1 - p)^gamma (gamma p log p - (1 - p)) with p = 1/2
    at_zero = 0.5 ** gamma * (gamma * 0.5 * math.log(0.5) - 0.5)
    np.testing.assert_allclose(pred.grad.asnumpy()[:4, 0], [-1, -1, -1, at_zero], rtol=1e-5, atol=1e-6)
    assert abs(pred.grad.asnumpy()[4:]).max() < 1e-8


def test_with_background_the_labels_are_those_of_multi_box_target(rng):
    inputs = anchors(rng, "float64")
    pred, label = mx.nd.array(inputs["pred"], dtype="float64"), inputs["label"]
    shifted = mx.nd.array(np.where(label == -1, -1, label + 1), dtype="float32")  # no background among them
    np.testing.assert_allclose(
        mxloss.FocalLoss(background=True, ignore_label=-1)(pred, shifted).asnumpy(),
        mxloss.FocalLoss(ignore_label=-1)(pred, mx.nd.array(label)).asnumpy(), rtol=1e-9)
    nothing = mxloss.focal_loss(pred, mx.nd.zeros((6, 5)), background=True).asnumpy()
    np.testing.assert_allclose(nothing, focal_loop(inputs["pred"], np.full((6, 5), 9), 0.25, 2.0), rtol=1e-9)


def test_a_class_that_is_masked_out_costs_nothing():
    """Scores of minus infinity for another class, of plus infinity for the own one."""
    pred = mx.nd.array([[-np.inf, 0.5], [0.5, np.inf]])
    pred.attach_grad()
    with mx.autograd.record():
        loss = mxloss.focal_loss(pred, mx.nd.array([1, 1]))
    loss.backward()
    one = mx.nd.array([[0.5]])
    np.testing.assert_allclose(loss.asnumpy(), [mxloss.focal_loss(one, mx.nd.array([label])).asscalar()
                                                for label in (0, -2)], rtol=1e-6)
    assert np.isfinite(pred.grad.asnumpy()).all()
    assert pred.grad[0, 0].asscalar() == pred.grad[1, 1].asscalar() == 0


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_with_background_the_classes_are_one_more(dtype):
    block, pred = mxloss.FocalLoss(background=True), mx.nd.zeros((2, 3))
    block(pred, mx.nd.array([3, 0], dtype=dtype))
    with pytest.raises(ValueError, match=r"FocalLoss: `label` must be a whole number in \[0, 3\], got 4.* in row 1"):
        block(pred, mx.nd.array([0, 4], dtype=dtype))
    symbol = block(mx.sym.var("pred"), mx.sym.var("label"))
    for label, fails in (([3, 0], False), ([0, 4], True), ([0, -1], True)):
        executor = symbol.bind(mx.cpu(), {"pred": pred, "label": mx.nd.array(label)})
        output = executor.forward()[0]
        if fails:
            with pytest.raises(mx.base.MXNetError, match="out of bound"):
                output.asnumpy()
        else:
            assert np.isfinite(output.asnumpy()).all()


def test_the_papers_divisor_is_the_number_of_anchors_with_an_object(rng):
    pred, label = rng.randn(2, 4, 3), np.array([[0, 2, -1, 0], [0, 0, 3, 1]])
    weight = item_weight(label != -1, label > 0)
    loss = mxloss.FocalLoss(background=True, ignore_label=-1)(
        mx.nd.array(pred), mx.nd.array(label), mx.nd.array(weight)).asnumpy()
    total = focal_loop(pred, np.where(label == -1, 99, label) - 1, 0.25, 2.0, ignore_label=98).sum()
    assert loss.mean() == pytest.approx(total / 3, rel=1e-5)


def test_shapes_that_do_not_fit_are_refused_in_words():
    with pytest.raises(ValueError, match=r"FocalLoss: `label` must be of shape \(2, 5\), got \(5, 2\)"):
        mxloss.FocalLoss()(mx.nd.zeros((2, 5, 3)), mx.nd.zeros((5, 2)))
