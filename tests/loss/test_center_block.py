"""The block `CenterLoss`: what it computes, what it takes, what it refuses, and what it saves."""
import re

import mxnet as mx
import numpy as np
import pytest

import mxloss
from tests import center_training as training
from tests.oracle import Oracle, assert_agree

FEATURE = np.array([[3., 4.], [1., -1.], [0., 2.], [5., 0.5], [-2., 1.]])
LABEL = np.array([2., 0., 2., 1., 2.])
CENTERS = np.array([[1., 2.], [2., 0.], [1., 1.]])
COUNTS = np.array([3., 1., 0.])


class Parent(mx.gluon.HybridBlock):
    """A network that has the loss inside: hybridized, it calls no Python of the loss per batch."""

    def __init__(self, **loss):
        super().__init__(prefix="parent_")
        with self.name_scope():
            self.loss = mxloss.CenterLoss(3, 2, prefix="center_loss_", **loss)

    def hybrid_forward(self, F, *inputs):
        return self.loss(*inputs)


def parent(way="imperative", **loss):
    made = Parent(**dict({"dtype": "float64"}, **loss))
    made.initialize()
    table = np.concatenate([CENTERS, COUNTS[:, None]], axis=1) if loss.get("update") != "gradient" else CENTERS
    made.loss.centers.set_data(mx.nd.array(table, dtype=made.loss.centers.dtype))
    if way == "hybridized":
        made.hybridize()
    elif way == "block":
        made.loss.hybridize()
    return made


def differentiate(made, label, sample_weight=None, *, feature=FEATURE, label_dtype="float64", shape=(-1,),
                  dtype="float64"):
    """Loss, gradient of the features, and what stands in place of the centers' gradient."""
    inputs = [mx.nd.array(feature, dtype=dtype), mx.nd.array(label, dtype=label_dtype).reshape(shape)]
    if sample_weight is not None:
        inputs.append(mx.nd.array(sample_weight, dtype=dtype).reshape(shape))
    inputs[0].attach_grad()
    with mx.autograd.record():
        loss = made(*inputs)
    loss.backward()
    grad = made.loss.centers.grad()
    return loss.asnumpy(), inputs[0].grad.asnumpy(), grad.tostype("default").asnumpy()


def by_hand(label, weight=1.0, alpha=0.5, sample_weight=None, absent=()):
    losses, gradient, statistic = [], [], np.zeros((3, 3))
    for i, j in enumerate(label):
        w = 1.0 if sample_weight is None else sample_weight[i]
        if i in absent or w == 0:
            losses.append(0.0)
            gradient.append([0.0, 0.0])
            continue
        difference = FEATURE[i] - CENTERS[int(j)]
        losses.append(weight * w * (difference ** 2).sum() / 2)
        gradient.append(weight * w * difference)
        statistic[int(j), :2] -= alpha * difference
        statistic[int(j), 2] += 1
    return np.array(losses), np.array(gradient), statistic


WAYS = pytest.mark.parametrize("way", ["imperative", "block", "hybridized"])


@WAYS
@pytest.mark.parametrize("sparse_grad", [False, True])
@pytest.mark.parametrize(("weight", "alpha"), [(1.0, 0.5), (0.1, 0.3), (0.0, 1.0), (2.0, 0.0)])
def test_loss_gradient_and_statistic_are_those_done_by_hand(way, sparse_grad, weight, alpha):
    got = differentiate(parent(way, weight=weight, alpha=alpha, sparse_grad=sparse_grad), LABEL)
    for value, wanted in zip(got, by_hand(LABEL, weight, alpha)):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@WAYS
@pytest.mark.parametrize("shape", [(5,), (5, 1)])
@pytest.mark.parametrize("label_dtype", ["float16", "float32", "float64", "int8", "uint8", "int32", "int64"])
def test_labels_are_of_any_number_type_and_of_one_or_two_axes(way, label_dtype, shape):
    got = differentiate(parent(way), LABEL, label_dtype=label_dtype, shape=shape)
    for value, wanted in zip(got, by_hand(LABEL)):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@WAYS
def test_sample_weights_scale_loss_and_gradient_and_zero_is_absent(way):
    sample_weight = np.array([2.0, 0.5, 0.0, 1.0, 3.0])
    for shape in ((5,), (5, 1)):
        got = differentiate(parent(way, weight=0.7), LABEL, sample_weight, shape=shape)
        for value, wanted in zip(got, by_hand(LABEL, 0.7, sample_weight=sample_weight)):
            np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@WAYS
@pytest.mark.parametrize("ignore_label", [-1, 255, 1])
def test_the_ignore_label_is_absent_whatever_its_features_are(way, ignore_label):
    label, feature = LABEL.copy(), FEATURE.copy()
    label[3], feature[3] = ignore_label, np.nan
    got = differentiate(parent(way, ignore_label=ignore_label), label, feature=feature)
    for value, wanted in zip(got, by_hand(LABEL, absent=(3,))):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


def test_an_absent_sample_may_have_any_label():
    label = np.array([2., 0., 7., np.nan, 2.])
    sample_weight = np.array([1., 1., 0., 0., 1.])
    for way in ("imperative", "hybridized"):
        got = differentiate(parent(way), label, sample_weight)
        for value, wanted in zip(got, by_hand(LABEL, absent=(2, 3))):
            np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@WAYS
def test_centers_by_gradient_get_that_of_the_loss(way):
    loss, _, grad = differentiate(parent(way, update="gradient", weight=0.3), LABEL)
    wanted, to_feature, _ = by_hand(LABEL, 0.3)
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)
    for j in range(3):
        np.testing.assert_allclose(grad[j], -to_feature[np.equal(LABEL, j)].sum(axis=0), rtol=1e-12, atol=1e-12)


@WAYS
def test_features_of_sixteen_bits_have_centers_of_thirty_two(way):
    made = parent(way, dtype="float32")
    made.cast("float16")
    loss, gradient, statistic = differentiate(made, LABEL, dtype="float16", label_dtype="float16")
    assert (loss.dtype, gradient.dtype, statistic.dtype) == (np.float32, np.float16, np.float32)
    for value, wanted in zip((loss, gradient, statistic), by_hand(LABEL)):
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-6)


def test_permuting_the_batch_permutes_the_losses():
    order = [3, 0, 4, 1, 2]
    loss = parent()(mx.nd.array(FEATURE), mx.nd.array(LABEL)).asnumpy()
    permuted = parent()(mx.nd.array(FEATURE[order]), mx.nd.array(LABEL[order])).asnumpy()
    np.testing.assert_array_equal(permuted, loss[order])


@pytest.mark.parametrize("way", ["imperative", "block"])
@pytest.mark.parametrize("bad", [3, -1, 1.5, np.nan, np.inf])
@pytest.mark.parametrize("ignore_label", [None, 9])
def test_a_label_that_is_no_class_is_named_before_anything_is_computed(way, bad, ignore_label):
    made, label = parent(way, ignore_label=ignore_label), LABEL.copy()
    label[3] = bad
    message = "CenterLoss: `label` must be a whole number in [0, 2]{}, got {} in row 3".format(
        "" if ignore_label is None else " or 9", float(bad))
    with pytest.raises(ValueError, match=re.escape(message)):
        made(mx.nd.array(FEATURE), mx.nd.array(label))


def test_sixteen_bit_labels_that_cannot_tell_classes_apart_are_refused():
    block = mxloss.CenterLoss(2049, 2)
    block.initialize()
    feature = mx.nd.array(FEATURE)
    block(feature, mx.nd.array(LABEL, dtype="int32"))
    with pytest.raises(ValueError, match="`label` must be of a type that can tell 2049 classes apart, got 'float16'"):
        block(feature, mx.nd.array(LABEL, dtype="float16"))


@pytest.mark.parametrize(("feature", "label", "weight", "message"), [
    ((5, 3), (5,), None, "`feature` must be of shape (5, 2), got (5, 3)"),
    ((5,), (5,), None, "`feature` must be (batch, feature_size), 2 axes, got (5,)"),
    ((5, 2), (4,), None, "`label` must be of shape (5,), got (4,)"),
    ((5, 2), (5, 2), None, "`label` must be of shape (5,), got (5, 2)"),
    ((5, 2), (5,), (2,), "`sample_weight` must be of shape (5,), got (2,)"),
])
def test_arrays_that_do_not_fit_are_refused(feature, label, weight, message):
    arrays = [mx.nd.zeros(shape) for shape in (feature, label, weight) if shape]
    with pytest.raises(ValueError, match=re.escape("CenterLoss: " + message)):
        parent().loss(*arrays)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"num_class": 0}, ValueError, "`num_class` must be a whole number >= 1, got 0"),
    ({"num_class": 2.0}, TypeError, "`num_class` must be a whole number, got 2.0"),
    ({"feature_size": 0}, ValueError, "`feature_size` must be a whole number >= 1, got 0"),
    ({"alpha": 1.5}, ValueError, "`alpha` must be in [0, 1], got 1.5"),
    ({"weight": -1}, ValueError, "`weight` must be a finite number >= 0, got -1"),
    ({"update": "mean"}, ValueError, "`update` must be one of 'average', 'gradient', got 'mean'"),
    ({"update": "gradient", "alpha": 0.3}, ValueError, "`alpha` must be left out with update='gradient'"),
    ({"ignore_label": "none"}, TypeError, "`ignore_label` must be a whole number, got 'none'"),
    ({"sparse_grad": 1}, TypeError, "`sparse_grad` must be True or False, got 1"),
    ({"dtype": "float16"}, ValueError, "`dtype` must be one of 'float32', 'float64', got 'float16'"),
])
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape("CenterLoss: " + message)):
        mxloss.CenterLoss(**dict({"num_class": 3, "feature_size": 2}, **arguments))


@pytest.mark.parametrize("weight", [-0.1, np.nan, "1"])
def test_a_wrong_weight_changes_nothing(weight):
    made = parent(weight=0.5)
    with pytest.raises((TypeError, ValueError), match="CenterLoss: `weight` must be"):
        made.loss.weight = weight
    assert made.loss.weight == 0.5


def test_the_weight_before_and_after_initializing():
    block = mxloss.CenterLoss(3, 2, weight=0.5)
    block.weight = 0.25
    assert block.weight == 0.25
    block.initialize(ctx=training.devices(2))
    assert block.weight == 0.25
    block.set_weight(4)
    assert [array.asscalar() for array in block.loss_weight.list_data()] == [4, 4]


def test_sample_weights_may_be_given_by_name():
    made = parent().loss
    feature, label, weight = mx.nd.array(FEATURE), mx.nd.array(LABEL), mx.nd.array([1., 2., 3., 4., 5.])
    np.testing.assert_array_equal(made(feature, label, sample_weight=weight).asnumpy(),
                                  made(feature, label, weight).asnumpy())


def test_evaluation_moves_nothing():
    made = parent("hybridized")
    before = made.loss.centers.data().asnumpy()
    made(mx.nd.array(FEATURE), mx.nd.array(LABEL)).wait_to_read()
    np.testing.assert_array_equal(made.loss.centers.data().asnumpy(), before)


def test_saved_parameters_have_centers_counts_and_weight(tmp_path):
    made, again = parent(weight=0.3), parent()
    made.save_parameters(str(tmp_path / "net.params"))
    again.load_parameters(str(tmp_path / "net.params"))
    assert again.loss.weight == 0.3
    np.testing.assert_array_equal(again.loss.class_centers().asnumpy(), CENTERS)
    np.testing.assert_array_equal(again.loss.class_counts().asnumpy(), COUNTS)


def test_an_exported_network_is_imported_and_trained_on(tmp_path):
    (data, label), (more, labels) = training.batches((9, 12))
    made = training.net(1, dtype="float32", alpha=0.4, weight=0.3)
    trainer = training.trainer(made)
    wanted = Oracle(training.initial_weights(), training.NUM_CLASS, alpha=0.4, weight=0.3, momentum=0.0)
    training.step_net(made, trainer, data, label, dtype="float32")
    wanted.step(data, label, lr=0.3, rescale=1 / 9)
    made.export(str(tmp_path / "net"))

    again = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data0", "data1"],
                                         str(tmp_path / "net-0000.params"))
    params = {name: parameter.data() for name, parameter in again.collect_params().items()}
    np.testing.assert_array_equal(made.center_loss.class_centers(params).asnumpy(),
                                  made.center_loss.class_centers().asnumpy())
    arrays = mx.nd.array(more), mx.nd.array(labels)
    trainer = mx.gluon.Trainer(again.collect_params(), "sgd")
    with pytest.raises(ValueError, match="Trainer: `optimizer` must be 'withcenters'"):
        trainer.step(1)
    trainer = mx.gluon.Trainer(again.collect_params(), "withcenters", {"base": "sgd", "learning_rate": 0.3})
    with mx.autograd.record():
        softmax, center = again(*arrays)
        total = softmax + center
    np.testing.assert_allclose(center.asnumpy(), made(*arrays)[1].asnumpy(), rtol=1e-6)
    total.backward()
    trainer.step(12)
    wanted.step(more, labels, lr=0.3, rescale=1 / 12)
    params = {name: parameter.data() for name, parameter in again.collect_params().items()}
    block = made.center_loss
    assert_agree(wanted, {name: params[name].asnumpy() for name in training.initial_weights()},
                 block.class_centers(params).asnumpy(), block.class_counts(params).asnumpy(), tolerance=3e-6)


def test_module_checkpoints_have_it_all(tmp_path):
    made, block = training.module(2, weight=0.3)
    training.step_module(made, *training.batches()[0])
    block.set_weight(0.7, made)
    made.save_checkpoint(str(tmp_path / "net"), 1)
    net, arguments, states = mx.model.load_checkpoint(str(tmp_path / "net"), 1)
    assert states["center_loss_weight"].asscalar() == 0.7
    np.testing.assert_array_equal(block.class_centers(arguments).asnumpy(),
                                  block.class_centers(made.get_params()[0]).asnumpy())
    assert block.class_counts(arguments).asnumpy().sum() == training.SIZES[0]
    with pytest.raises(ValueError, match="CenterLoss: `params` must be among 'a', got 'center_loss_centers'"):
        block.class_centers({"a": arguments["center_loss_centers"]})


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_the_network_of_module_binds_for_inference_without_a_label(number, separate):
    net, _ = training.symbol(separate)
    labels = ["softmax_label", "center_label"][:1 + separate]
    made = mx.mod.Module(net, label_names=labels, context=training.devices(number))
    made.bind([("data", (4, training.IN))], for_training=False)
    made.init_params()
    made.forward(mx.io.DataBatch([mx.nd.ones((4, training.IN))]), is_train=False)
    assert [output.shape for output in made.get_outputs()] == [(4, training.NUM_CLASS), (4,)]


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
@pytest.mark.parametrize("dtype", ["float16", "int32", "float64"])
def test_labels_of_a_symbol_are_of_any_type_and_shape_too(shape, dtype):
    block = mxloss.CenterLoss(3, 2, prefix="center_loss_")
    net = mx.sym.MakeLoss(block(mx.sym.var("data"), mx.sym.var("label")))
    executor = net.simple_bind(mx.cpu(), data=(8, 2), label=shape, type_dict={"data": "float32", "label": dtype})
    executor.arg_dict["label"][:] = mx.nd.array(np.arange(8) % 3, dtype=dtype).reshape(shape)
    executor.arg_dict["data"][:] = 1
    executor.forward(is_train=True)
    executor.backward()
    np.testing.assert_array_equal(executor.grad_dict["center_loss_centers"].asnumpy()[:, 2], [3, 3, 2])


def test_two_calls_of_one_block_share_its_centers():
    """The features of two branches in one network move one set of centers as one batch of both."""
    block = mxloss.CenterLoss(3, 2, alpha=1.0)
    block.initialize()
    half = mx.nd.array(FEATURE[:2]), mx.nd.array(LABEL[:2])
    rest = mx.nd.array(FEATURE[2:]), mx.nd.array(LABEL[2:])
    with mx.autograd.record():
        total = block(*half).sum() + block(*rest).sum()
    total.backward()
    np.testing.assert_allclose(block.centers.grad().asnumpy()[:, 2], [1, 1, 3])
