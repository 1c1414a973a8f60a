"""Softmax cross-entropy: smoothing, ignored labels, one divisor over all devices, and a Group that Module trains."""
import math

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.functional import item_weight
from tests.loss.training import batch_of, module_of, step_of


def softmax_loop(pred, label, smoothing, ignore_label=-1):
    """One loss per item, for classes along axis 1, written from the paper: cross-entropy with the smoothed target."""
    pred, label = np.asarray(pred, dtype="float64"), np.asarray(label)
    losses = np.zeros(label.shape)
    for at in np.ndindex(*label.shape):
        if label[at] == ignore_label:
            continue
        scores = [pred[(at[0], k) + at[1:]] for k in range(pred.shape[1])]
        top = max(scores)
        log_sum = top + math.log(sum(math.exp(score - top) for score in scores))
        for k, score in enumerate(scores):
            target = (1 - smoothing) * (k == label[at]) + smoothing / len(scores)
            losses[at] -= target * (score - log_sum)
    return losses


def maps(rng, dtype):
    """Scores (batch, class, position) and labels with some ignored, as `axis=1` takes them."""
    label = rng.randint(0, 4, (6, 5))
    label[rng.rand(6, 5) < 0.2] = -1
    label[0, 0], label[0, 2] = 3, 1
    return {"pred": (rng.randn(6, 4, 5) * 2).astype(dtype), "label": label.astype("float32")}


def loss_of(pred, label, sample_weight=None, **hyper):
    return mxloss.SoftmaxLoss(**hyper)(*[None if array is None else mx.nd.array(array)
                                         for array in (pred, label, sample_weight)]).asnumpy()


def test_golden_values_by_hand():
    pred = [[0, math.log(3)], [math.log(3), 0], [5, 5]]  # probabilities 1/4 3/4, 3/4 1/4, 1/2 1/2
    np.testing.assert_allclose(loss_of(pred, [1, 1, 0]), [math.log(4 / 3), math.log(4), math.log(2)], rtol=1e-5)
    np.testing.assert_allclose(loss_of(pred, [1, 1, 0], smoothing=1.0),
                               [(math.log(4 / 3) + math.log(4)) / 2] * 2 + [math.log(2)], rtol=1e-5)
    np.testing.assert_allclose(loss_of(pred, [1, 255, 0], ignore_label=255), [math.log(4 / 3), 0, math.log(2)],
                               rtol=1e-5)


def test_scores_far_apart_cost_their_distance_and_never_inf():
    losses = loss_of([[0, 1000.], [-3e4, 3e4], [1e30, 0]], [0, 0, 0])
    np.testing.assert_allclose(losses, [1000, 6e4, 0], rtol=1e-6, atol=1e-5)  # float32 log_softmax is good to 4e-6


@pytest.mark.parametrize("label_type", ["int32", "uint8", "float32", "int64", "float64"])
def test_labels_of_any_number_type(label_type):
    label = mx.nd.array([2, 0], dtype=label_type)
    loss = mxloss.SoftmaxLoss()
    for hybrid in (False, True):
        loss.hybridize(hybrid)
        losses = loss(mx.nd.array([[1, 2, 3], [1, 2, 3]]), label).asnumpy()
        np.testing.assert_allclose(losses, [0.4076, 2.4076], rtol=1e-4)


def test_an_ignored_item_has_gradient_zero_whatever_its_scores():
    pred = mx.nd.array([[1., -1e38], [0., 2.]])
    pred.attach_grad()
    with mx.autograd.record():
        loss = mxloss.SoftmaxLoss(ignore_label=-1)(pred, mx.nd.array([-1, 0]))
    loss.backward()
    assert loss.asnumpy()[0] == 0
    np.testing.assert_array_equal(pred.grad.asnumpy()[0], [0, 0])


def test_a_mean_over_the_items_has_one_divisor_over_all_devices(rng):
    """Two thirds of the items of the second half are ignored: divisors of each device's own would differ."""
    pred, label = rng.randn(6, 3), np.array([0, 2, 1, -1, -1, 2.])
    losses = softmax_loop(pred, label, 0)
    block = mxloss.SoftmaxLoss(ignore_label=-1)
    inputs = {"pred": pred, "label": label, "sample_weight": item_weight(label != -1).astype("float64")}
    one, two, three = (step_of(block, inputs, devices) for devices in (1, 2, 3))
    assert one[0] == pytest.approx(losses.sum() / 4, rel=1e-6)
    for value, step in (two, three):
        assert value == pytest.approx(one[0])
        np.testing.assert_allclose(step, one[1], rtol=1e-9)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_iterator_brings_the_weights_of_the_whole_batch_to_module(rng, devices):
    pred, label = rng.randn(8, 3).astype("float32"), np.array([0, 2, 1, -1, -1, 2, -1, 1], dtype="float32")
    batches = mxloss.io.ItemWeightIter(mx.io.NDArrayIter({"pred": pred}, {"label": label}, 4), "label", "label_weight",
                                       lambda label: label != -1)
    data, target, weight = (mx.sym.var(name) for name in ("pred", "label", "label_weight"))
    net = mx.sym.MakeLoss(mxloss.SoftmaxLoss(ignore_label=-1)(data, target, weight))
    module = mx.mod.Module(net, ["pred"], ["label", "label_weight"], context=[mx.cpu(i) for i in range(devices)])
    module.bind(batches.provide_data, batches.provide_label, for_training=False)
    module.init_params()
    losses = softmax_loop(pred, label, 0)
    for begin, batch in zip((0, 4), batches):
        module.forward(batch)
        rows = slice(begin, begin + 4)
        assert module.get_outputs()[0].asnumpy().mean() == pytest.approx(
            losses[rows].sum() / (label[rows] != -1).sum(), rel=1e-5)


def test_it_heeds_outer_weights_and_loss_scaling(rng):
    """The native head ignores both."""
    inputs = {name: mx.nd.array(array) for name, array in maps(rng, "float32").items()}
    gradients = []
    for scale in (1, 128):
        inputs["pred"].attach_grad()
        with mx.autograd.record():
            loss = mxloss.SoftmaxLoss(axis=1, ignore_label=-1)(**inputs) * scale
        loss.backward()
        gradients.append(inputs["pred"].grad.asnumpy())
    np.testing.assert_allclose(gradients[1], 128 * gradients[0], rtol=1e-6)


def test_in_a_group_it_trains_as_softmax_output_does_and_keeps_its_predictions_readable(rng):
    feature, label = rng.randn(8, 5).astype("float32"), rng.randint(0, 3, 8).astype("float32")
    data, target = mx.sym.var("data"), mx.sym.var("softmax_label")
    scores = mx.sym.FullyConnected(data, num_hidden=3, name="fc")
    ours = mx.sym.Group([mx.sym.BlockGrad(mx.sym.softmax(scores), name="softmax"),
                         mx.sym.MakeLoss(mxloss.SoftmaxLoss()(scores, target), name="softmax_loss")])
    weights = {"fc_weight": mx.nd.array(rng.randn(3, 5)), "fc_bias": mx.nd.array(rng.randn(3))}
    trained, accuracies = [], []
    for net in (ours, mx.sym.SoftmaxOutput(scores, target, name="softmax")):
        module = mx.mod.Module(net, context=[mx.cpu(0), mx.cpu(1)])
        accuracy = mx.metric.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])
        module.fit(mx.io.NDArrayIter(feature, label, 4), eval_metric=accuracy, num_epoch=3, arg_params=weights,
                   optimizer_params={"learning_rate": 0.5})
        trained.append(module.get_params()[0])
        accuracies.append(accuracy.get())
    assert accuracies[0] == accuracies[1]
    for name, weight in trained[1].items():
        np.testing.assert_allclose(trained[0][name].asnumpy(), weight.asnumpy(), rtol=1e-4, atol=1e-5)
    predicting = mx.mod.Module(ours)
    predicting.bind([("data", (2, 5))], for_training=False)  # without a label
    predicting.set_params(*module.get_params())
    assert predicting.predict(mx.io.NDArrayIter(feature, None, 2))[0].shape == (8, 3)


@pytest.mark.parametrize(("shapes", "words"), [
    (((4, 3), (4, 1), None), r"SoftmaxLoss: `label` must be of shape \(4,\), got \(4, 1\)"),
    (((4,), (4,), None), r"SoftmaxLoss: `pred` must be an array with an axis -1 behind the batch axis, got \(4,\)"),
    (((4, 3), (4,), (4, 3)), r"SoftmaxLoss: `sample_weight` must be of shape \(4,\), got \(4, 3\)"),
    (((4, 6, 3), (4, 6), (6,)), r"SoftmaxLoss: `sample_weight` must be of shape \(4,\) or \(4, 6\), got \(6,\)"),
])
def test_shapes_that_do_not_fit_are_refused_in_words(shapes, words):
    with pytest.raises(ValueError, match=words):
        mxloss.SoftmaxLoss()(*[shape and mx.nd.zeros(shape) for shape in shapes])


def test_a_weight_for_each_item(rng):
    inputs = maps(rng, "float64")
    weight = rng.rand(6, 5)
    loss = mxloss.SoftmaxLoss(axis=1, ignore_label=-1)
    np.testing.assert_allclose(
        loss(mx.nd.array(inputs["pred"], dtype="float64"), mx.nd.array(inputs["label"]),
             mx.nd.array(weight, dtype="float64")).asnumpy(),
        (softmax_loop(inputs["pred"], inputs["label"], 0) * weight).mean(axis=1), rtol=1e-9)


def test_after_a_bad_batch_the_next_good_one_trains_on(rng):
    good = {"pred": rng.randn(4, 3), "label": np.array([0., 1, 2, 0])}
    bad = dict(good, label=np.array([0., 1, 12, 0]))
    module = module_of(mxloss.SoftmaxLoss(), good, 2)
    module.forward_backward(batch_of(bad))
    with pytest.raises(ValueError, match=r"SoftmaxLoss: `label` must be .*, got 12.0 in row 2"):
        module.update()
    module.forward_backward(batch_of(good))
    module.update()
    assert np.isfinite(module.get_outputs()[0].asnumpy()).all()


def test_labels_that_a_type_cannot_tell_apart_are_refused():
    with pytest.raises(ValueError, match="SoftmaxLoss: `label`"):
        mxloss.SoftmaxLoss()(mx.nd.zeros((1, 3000)), mx.nd.array([2049], dtype="float16"))


@pytest.mark.parametrize("shape", [(1,), (4, 4), (2,)])
def test_weights_that_do_not_fit_are_refused_in_a_graph_too(shape):
    loss = mxloss.SoftmaxLoss()(mx.sym.var("pred"), mx.sym.var("label"), mx.sym.var("weight"))
    assert loss.infer_shape(pred=(4, 3), label=(4,), weight=(4,))[1] == [(4,)]
    with pytest.raises(mx.base.MXNetError):
        loss.infer_shape(pred=(4, 3), label=(4,), weight=shape)


def test_a_call_without_label_is_told():
    with pytest.raises(TypeError, match="SoftmaxLoss: `label` must be given, got None"):
        mxloss.SoftmaxLoss()(mx.nd.zeros((1, 3)))
