"""Several losses: the total is the sum of the parts that are reported, and weights may change between steps."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from mxloss import LossGroup


def two(**options):
    return LossGroup({"squared": gluon.loss.L2Loss(), "absolute": gluon.loss.L1Loss()}, **options)


def test_the_total_is_the_sum_of_the_weighted_parts(rng):
    pred, label = rng.randn(5, 3), rng.randn(5, 3)
    total, parts = two(weights={"absolute": 0.25})(mx.nd.array(pred), mx.nd.array(label))
    squared, absolute = ((pred - label) ** 2).mean(axis=1) / 2, 0.25 * np.abs(pred - label).mean(axis=1)
    assert list(parts) == ["squared", "absolute"]
    np.testing.assert_allclose(parts["squared"].asnumpy(), squared, rtol=1e-5)
    np.testing.assert_allclose(parts["absolute"].asnumpy(), absolute, rtol=1e-5)
    np.testing.assert_allclose(total.asnumpy(), squared + absolute, rtol=1e-5)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_weight_changed_while_training_counts_from_the_next_step(rng, hybridize):
    losses, pred = two(), mx.nd.array(rng.randn(4, 2))
    pred.attach_grad()
    if hybridize:
        losses.hybridize()
    for weight in (1.0, 0.0, 3.5):
        losses.set_weight("absolute", weight)
        with mx.autograd.record():
            total, _ = losses(pred, mx.nd.zeros((4, 2)))
        total.backward()
        np.testing.assert_allclose(pred.grad.asnumpy(), (pred.asnumpy() + weight * np.sign(pred.asnumpy())) / 2,
                                   rtol=1e-5)


@pytest.mark.parametrize("keys", [(0, 1), ("near", "far")])
def test_losses_find_their_outputs_and_labels(keys):
    near, far = keys
    pack = dict if isinstance(near, str) else (lambda pairs: [array for _, array in pairs])
    losses = two(outputs={"squared": near, "absolute": far}, labels={"squared": far, "absolute": near})
    outputs = pack([(near, mx.nd.array([[1.]])), (far, mx.nd.array([[10.]]))])
    labels = pack([(near, mx.nd.array([[4.]])), (far, mx.nd.array([[3.]]))])
    _, parts = losses(outputs, labels)
    assert parts["squared"].asscalar() == pytest.approx((1 - 3) ** 2 / 2)
    assert parts["absolute"].asscalar() == pytest.approx(10 - 4)


def test_a_loss_may_take_several_outputs_and_no_label():
    losses = LossGroup({"gap": gluon.nn.HybridLambda(lambda F, a, b: (a - b).abs())}, outputs={"gap": (1, 0)},
                       labels={"gap": None})
    total, _ = losses([mx.nd.array([1, 5]), mx.nd.array([3, 4])])
    np.testing.assert_array_equal(total.asnumpy(), [2, 1])


def test_parameters_of_the_losses_are_parameters_of_the_group():
    losses = LossGroup({"dense": gluon.nn.Dense(1, in_units=2)}, labels={"dense": None})
    assert len(list(losses.collect_params())) == 2


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"weights": {"other": 1}}, ValueError, r"LossGroup: `weights` must be among 'squared', 'absolute', got 'other'"),
    ({"outputs": {"other": 1}}, ValueError, r"LossGroup: `outputs` must be among 'squared', 'absolute', got 'other'"),
    ({"weights": {"squared": float("nan")}}, ValueError, r"`weight of squared` must be a finite number, got nan"),
    ({"weights": {"squared": "1"}}, TypeError, r"`weight of squared` must be a number, got '1'"),
])
def test_bad_arguments_are_named(options, error, words):
    with pytest.raises(error, match=words):
        two(**options)


@pytest.mark.parametrize(("losses", "words"), [
    ({}, r"`losses` must be a dict of at least one loss block by name, got \{\}"),
    ([gluon.loss.L2Loss()], r"`losses` must be a dict of at least one loss block by name"),
    ({"a": abs}, r"`a` must be a loss block, got <built-in function abs>"),
])
def test_losses_have_to_be_blocks_by_name(losses, words):
    with pytest.raises(TypeError, match=words):
        LossGroup(losses)


@pytest.mark.parametrize(("outputs", "labels", "words"), [
    ([mx.nd.ones((1, 1))], mx.nd.ones((1, 1)), r"`outputs` must be an array for each index .* 1 of them came, got 1"),
    ([mx.nd.ones((1, 1))] * 2, None, r"`labels` must be an array for each index .* 0 of them came, got 0"),
    ({0: mx.nd.ones((1, 1))}, mx.nd.ones((1, 1)), r"`outputs` must be among 0, got 1"),
])
def test_arrays_that_are_missing_are_named(outputs, labels, words):
    with pytest.raises(ValueError, match=words):
        two(outputs={"absolute": 1})(outputs, labels)


class OfShape(gluon.loss.Loss):
    """A loss of a user's own that returns a column, or a mean."""

    def __init__(self, shape):
        super().__init__(None, 0)
        self.shape = shape

    def hybrid_forward(self, F, pred, label):
        loss = F.square(pred - label).mean(axis=1)
        return (loss.mean() if self.shape == (1,) else loss).reshape(self.shape)


@pytest.mark.parametrize(("shape", "got"), [((-1, 1), r"\(4, 1\)"), ((1,), r"\(1,\)")])
@pytest.mark.parametrize("first", [False, True])
def test_a_loss_of_another_shape_is_refused_before_it_is_broadcast(shape, got, first):
    losses = {"own": OfShape(shape), "squared": gluon.loss.L2Loss()}
    losses = LossGroup({name: losses[name] for name in sorted(losses, reverse=not first)})
    words = r"LossGroup: `squared` must be of shape {}, got \(4,\)".format(got) if first else \
        r"LossGroup: `own` must be of shape \(4,\), got {}".format(got)
    with pytest.raises(ValueError, match=words):
        losses(mx.nd.ones((4, 2)), mx.nd.zeros((4, 2)))
