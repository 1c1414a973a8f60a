"""The activity regulariser: its formula, and that it passes its input through."""
import mxnet as mx
import numpy as np
import pytest

import mxloss


def reference(activity, order):
    return np.array([sum(abs(h) ** order for h in sample.reshape(-1)) / order for sample in activity.astype("float64")])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2, 5)])
def test_each_sample_pays_for_its_own_activities(rng, shape, order):
    activity = rng.randn(*shape)
    np.testing.assert_allclose(mxloss.loss.activity_penalty(mx.nd.array(activity), order=order).asnumpy(),
                               reference(activity, order), rtol=1e-5)


def test_permuting_the_batch_permutes_the_penalties(rng):
    activity, order = rng.randn(6, 3), rng.permutation(6)
    penalty = mxloss.loss.activity_penalty
    np.testing.assert_array_equal(penalty(mx.nd.array(activity[order])).asnumpy(),
                                  penalty(mx.nd.array(activity)).asnumpy()[order])


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(("order", "slope"), [(1, np.sign), (2, np.array)])
def test_the_input_passes_and_the_gradient_is_that_of_the_sum(rng, order, slope, hybridize):
    activity = rng.randn(3, 4)
    x = mx.nd.array(activity)
    x.attach_grad()
    net = mxloss.WithPenalties(mxloss.ActivityPenalty(weight=0.3, order=order, name="size"))
    if hybridize:
        net.hybridize()
    with mx.autograd.record():
        outputs, penalties = net(x)
    penalties["size"].backward()
    np.testing.assert_array_equal(outputs.asnumpy(), x.asnumpy())
    np.testing.assert_allclose(penalties["size"].asnumpy(), 0.3 * reference(activity, order), rtol=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), 0.3 * slope(activity), rtol=1e-5)


@pytest.mark.parametrize(("options", "words"), [
    ({"weight": -1}, r"ActivityPenalty: `weight` must be a finite number >= 0, got -1"),
    ({"order": 3}, r"ActivityPenalty: `order` must be one of 1, 2, got 3"),
])
def test_bad_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        mxloss.ActivityPenalty(**options)
