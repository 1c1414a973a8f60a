"""Gram matrix and style loss: eq. 3 and 4 of Gatys, Ecker and Bethge."""
import mxnet as mx
import numpy as np
import pytest

import mxloss


def gram_loop(feature):
    """Eq. 3, divided by the number of positions, one matrix per sample."""
    result = []
    for sample in np.asarray(feature, dtype="float64"):
        rows = sample.reshape(len(sample), -1)
        result.append([[sum(a * b for a, b in zip(rows[i], rows[j])) / rows.shape[1] for j in range(len(rows))]
                       for i in range(len(rows))])
    return np.array(result)


def style_loop(feature, gram):
    """Eq. 4; both sums of eq. 3 are divided by the number of positions M, which eq. 4 does by 1 / M^2."""
    difference = gram_loop(feature) - np.asarray(gram, dtype="float64")
    channel = difference.shape[1]
    return np.array([sum(d ** 2 for d in sample.reshape(-1)) / (4 * channel ** 2) for sample in difference])


def features(rng, dtype):
    """Features of pictures that are not square, and the gram matrices of others of another size."""
    return {"feature": rng.randn(6, 3, 4, 2).astype(dtype), "gram": gram_loop(rng.randn(6, 3, 5, 3)).astype(dtype)}


def test_golden_values_by_hand():
    feature = mx.nd.array([[[[1., 3.]], [[2., 0.]]]], dtype="float64")  # rows (1, 3) and (2, 0): 10/2, 2/2, 4/2
    np.testing.assert_allclose(mxloss.gram_matrix(feature).asnumpy(), [[[5, 1], [1, 2]]], rtol=1e-12)
    loss = mxloss.StyleLoss()(feature, mx.nd.array([[[1., 1.], [1., 0.]]], dtype="float64"))
    np.testing.assert_allclose(loss.asnumpy(), [(16 + 0 + 0 + 4) / 16], rtol=1e-12)


def test_where_the_channels_fire_is_forgotten(rng):
    feature = rng.randn(2, 3, 4, 5)
    moved = feature.reshape(2, 3, 20)[:, :, rng.permutation(20)].reshape(2, 3, 5, 4)
    grams = [mxloss.gram_matrix(mx.nd.array(array, dtype="float64")).asnumpy() for array in (feature, moved)]
    np.testing.assert_allclose(grams[0], grams[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(grams[0], gram_loop(feature), rtol=1e-9, atol=1e-12)


def test_one_gram_matrix_serves_a_batch(rng):
    inputs = features(rng, "float64")
    feature, gram = (mx.nd.array(array, dtype="float64") for array in inputs.values())
    np.testing.assert_allclose(mxloss.StyleLoss()(feature, gram[:1]).asnumpy(),
                               style_loop(inputs["feature"], inputs["gram"][[0] * 6]), rtol=1e-9)


def test_float16_is_refused_in_words_where_mxnet_cannot_multiply_it():
    feature = mx.nd.zeros((1, 2, 3, 3), dtype="float16")
    with pytest.raises(ValueError, match="StyleLoss: `feature` must be of dtype float32 or float64, got 'float16'"):
        mxloss.StyleLoss()(feature, mx.nd.zeros((1, 2, 2), dtype="float16"))


@pytest.mark.parametrize(("shapes", "words"), [
    (((2, 3), (2, 3, 3)), r"StyleLoss: `feature` must be \(batch, channel, height, width\), got \(2, 3\)"),
    (((2, 3, 4, 4), (2, 3, 4, 4)), r"StyleLoss: `gram` must be of shape \(2, 3, 3\) or \(1, 3, 3\), got \(2, 3"),
])
def test_shapes_that_do_not_fit_are_refused_in_words(shapes, words):
    with pytest.raises(ValueError, match=words):
        mxloss.StyleLoss()(*[mx.nd.zeros(shape) for shape in shapes])
