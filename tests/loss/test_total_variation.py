"""Total variation: the squared steps between neighbours, right at the borders."""
import mxnet as mx
import numpy as np
import pytest

import mxloss


def total_variation_loop(image):
    """One loss per sample, neighbour by neighbour."""
    losses = []
    for picture in np.asarray(image, dtype="float64"):
        total = 0.0
        for channel in picture:
            for i in range(channel.shape[0]):
                for j in range(channel.shape[1]):
                    total += (channel[i, j + 1] - channel[i, j]) ** 2 if j + 1 < channel.shape[1] else 0
                    total += (channel[i + 1, j] - channel[i, j]) ** 2 if i + 1 < channel.shape[0] else 0
        losses.append(total)
    return np.array(losses)


def images(rng, dtype):
    return {"image": rng.randn(6, 3, 4, 2).astype(dtype)}


def test_golden_values_and_gradient_by_hand():
    image = mx.nd.array([[[[0., 1., 1.], [3., 3., 1.]]]])
    image.attach_grad()
    with mx.autograd.record():
        loss = mxloss.TotalVariationLoss()(image)
    loss.backward()
    # across: 1 + 0 + 0 + 4, down: 9 + 4 + 0
    assert loss.asnumpy().tolist() == [18]
    # twice the sum of the differences to the two or three neighbours that a pixel has
    np.testing.assert_array_equal(image.grad.asnumpy()[0, 0], [[-8, -2, 0], [6, 8, -4]])


def test_a_constant_picture_costs_nothing_at_its_borders_either():
    image = mx.nd.full((1, 3, 4, 5), 7.0)
    image.attach_grad()
    with mx.autograd.record():
        loss = mxloss.TotalVariationLoss()(image)
    loss.backward()
    assert loss.asscalar() == 0
    assert not image.grad.asnumpy().any()


@pytest.mark.parametrize(("shape", "words"), [
    ((3, 4, 5), r"TotalVariationLoss: `image` must be \(batch, channel, height, width\), 4 axes, got \(3, 4, 5\)"),
    ((2, 3, 1, 5), r"TotalVariationLoss: `image` must be at least two pixels high and wide, got \(2, 3, 1, 5\)"),
])
def test_pictures_without_neighbours_are_refused_in_words(shape, words):
    with pytest.raises(ValueError, match=words):
        mxloss.TotalVariationLoss()(mx.nd.zeros(shape))
