"""Content loss: eq. 1 of Gatys, Ecker and Bethge."""
import mxnet as mx
import numpy as np
import pytest

import mxloss


def content_loop(feature, label):
    """Eq. 1, one loss per sample."""
    return np.array([0.5 * sum((float(f) - float(p)) ** 2 for f, p in zip(a.reshape(-1), b.reshape(-1)))
                     for a, b in zip(feature, label)])


def features(rng, dtype):
    return {"feature": rng.randn(6, 3, 4, 2).astype(dtype), "label": rng.randn(6, 3, 4, 2).astype(dtype)}


def test_golden_values_by_hand():
    loss = mxloss.ContentLoss()(mx.nd.array([[[1., 2.]], [[0., 3.]]]), mx.nd.array([[[0., 0.]], [[0., 1.]]]))
    np.testing.assert_array_equal(loss.asnumpy(), [2.5, 2])


def test_the_gradient_is_the_distance_at_each_position(rng):
    feature, label = (mx.nd.array(array) for array in features(rng, "float32").values())
    feature.attach_grad()
    with mx.autograd.record():
        loss = mxloss.ContentLoss()(feature, label)
    loss.backward()
    np.testing.assert_allclose(feature.grad.asnumpy(), (feature - label).asnumpy(), rtol=1e-6)


@pytest.mark.parametrize(("label", "words"), [
    (mx.nd.zeros((2, 1)), r"ContentLoss: `label` must be of shape \(2, 3\), got \(2, 1\)"),
    (mx.nd.zeros((2, 3), dtype="float64"), "ContentLoss: `label` must be of dtype float32, got 'float64'"),
])
def test_a_label_that_does_not_fit_is_refused_in_words(label, words):
    with pytest.raises(ValueError, match=words):
        mxloss.ContentLoss()(mx.nd.zeros((2, 3)), label)
