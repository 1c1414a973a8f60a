"""Plumbing: creation, configuration, pickling, waiting, failures."""
import copy
import json
import pickle
import threading
import time

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon.contrib.estimator import Estimator

import mxloss
from mxloss.metric import (
    Accuracy,
    CenterAccuracy,
    CenterDistance,
    CenterSpread,
    ClassAccuracy,
    FeatureNorm,
    Group,
    Loss,
    TopK,
    from_symbol,
)

CENTERS = [[0.0, 0.0], [4.0, 0.0], [4.0, 3.0]]
EACH = [Loss("mine", ["a_output"], ["b"], head="SoftmaxOutput", grad_scale=0.5, use_ignore=True, report="batch"),
        Loss("mine", head="MakeLoss", normalization="valid", nan="warn", wait_every=3),
        Accuracy(multi_output=True), TopK(k=3), ClassAccuracy(num_class=4), FeatureNorm(),
        CenterAccuracy(centers=CENTERS), CenterDistance(centers=CENTERS), CenterSpread(output_names=["f", "c"])]


def network():
    data, label = mx.sym.var("data"), mx.sym.var("label")
    made = mx.sym.Reshape(mx.sym.transpose(label), shape=(-1,))
    return mx.sym.Group([mx.sym.transpose(mx.sym.SoftmaxOutput(data, made, use_ignore=True, name="softmax")),
                         mx.sym.MakeLoss(mx.sym.sum(mx.sym.square(data)), grad_scale=0.1, name="decay"),
                         mx.sym.BlockGrad(label, name="shown")])


EACH.append(from_symbol(network(), report="sum", nan="warn",
                        extra=[TopK(k=2), mx.metric.Loss("all", ["decay_output"])]))


@pytest.mark.parametrize("metric", EACH, ids=lambda metric: type(metric).__name__)
def test_a_configuration_makes_the_same_metric(metric):
    config = json.loads(json.dumps(metric.get_config()))
    made = mx.metric.create(**config)
    assert type(made) is type(metric)
    assert made.get_config() == metric.get_config()
    assert str(made) == str(metric)


def test_metrics_are_made_by_name_and_from_lists():
    assert mx.metric.create("mxloss.TopK", k=2).get()[0] == "top_2_accuracy"
    made = mx.metric.create(["mxloss.accuracy", Loss("mine"), "acc"])
    assert made.get()[0] == ["accuracy", "mine", "accuracy"]
    assert type(mx.metric.create("accuracy")) is mx.metric.Accuracy  # MXNet's own stay
    assert type(mx.metric.create("loss")) is mx.metric.Loss


def test_a_center_function_cannot_be_written_into_a_configuration():
    with pytest.raises(ValueError, match="`centers` must be an array or an output, for a configuration"):
        CenterAccuracy(centers=lambda: CENTERS).get_config()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_a_copy_goes_on_where_the_metric_was(twin):
    losses = [Loss("one", ["one"], report="sum"), Loss("two", ["two"], head="SoftmaxOutput")]
    metric = Group(losses, total=["one", "two"])
    label = {"label": mx.nd.array([0, 1])}
    metric.update_dict(label, {"one": mx.nd.array([1, 3]), "two": mx.nd.ones((2, 2)) / 2})
    metric.reset_local()
    other = twin(metric)
    for each in (metric, other):
        each.update_dict(label, {"one": mx.nd.array([6, 3]), "two": mx.nd.ones((2, 2))})
    assert other.get() == metric.get()
    assert other.get_global() == metric.get_global()
    assert other.get_global()[1][0] == 6.5


def test_a_metric_reads_well():
    metric = Group([Loss("one", ["one"]), Loss("two", ["two"])], total=["one", "two"])
    metric.update([], {"one": mx.nd.array([0.25]), "two": mx.nd.array([1])})
    assert str(metric) == "one 0.25, two 1, total_loss 1.25"
    assert str(metric.metrics[0]) == "one 0.25"


@pytest.mark.parametrize("wait_every", [1, 2, 5])
def test_no_more_batches_gather_than_allowed_and_no_value_is_lost(wait_every):
    metric = Loss(wait_every=wait_every)
    for i in range(17):
        for device in range(2):
            metric.update_dict({}, {"loss": mx.nd.array([i, i + device], ctx=mx.cpu(device))})
        assert len(metric._pending) <= wait_every
    assert metric.get()[1] == pytest.approx(8.25)


class Gate(mx.operator.CustomOp):
    """Gives its input back once `opened` is set."""

    opened = threading.Event()

    def forward(self, is_train, req, in_data, out_data, aux):
        self.opened.wait(20)
        self.assign(out_data[0], req[0], in_data[0])


@mx.operator.register("mxloss_test_gate")
class GateProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx, in_shapes, in_dtypes):
        return Gate()


def test_an_update_does_not_wait_for_the_pass_and_a_reader_does():
    metric, label = Loss(head="SoftmaxOutput"), mx.nd.array([1])
    Gate.opened.clear()
    started = time.monotonic()
    for _ in range(3):
        metric.update(label, mx.nd.Custom(mx.nd.array([[0.5, 0.5]]), op_type="mxloss_test_gate"))
    assert time.monotonic() - started < 10  # nobody has opened the gate yet
    Gate.opened.set()
    assert metric.get()[1] == pytest.approx(np.log(2))


def update_each(metric, batches):
    for batch in batches:
        metric.update([], batch)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_told_with_loss_and_batch(wrong):
    metric = Loss("mine", wait_every=4)
    values = [1, 1, wrong, 1, 1, 1, 1]  # told within four batches
    with pytest.raises(ValueError, match="mine: `batch 2` must be finite, got {}".format(wrong)):
        update_each(metric, [mx.nd.array([1, value]) for value in values])
    with pytest.raises(ValueError, match="batch 2"):
        metric.get()
    metric.reset()
    metric.update([], mx.nd.array([1]))
    assert metric.get()[1] == 1.0


def test_a_number_that_is_not_finite_may_be_a_warning():
    metric = Loss("mine", nan="warn")
    for value in (1, float("nan"), 2):
        metric.update([], mx.nd.array([value]))
    with pytest.warns(UserWarning, match="mine: batch 1 is nan"):
        assert np.isnan(metric.get()[1])


def test_an_error_of_the_engine_is_read_within_the_batches_allowed():
    metric = Loss(wait_every=4)
    failing = mx.nd.take(mx.nd.ones(3), mx.nd.array([7]), mode="raise")
    with pytest.raises(mx.base.MXNetError, match="out of|indices|index"):
        update_each(metric, [failing] + [mx.nd.ones(1)] * 5)


BAD = [
    (lambda: Loss(report="mean"), "loss: `report` must be one of 'item', 'batch', 'sum', 'scaled_sum', got 'mean'"),
    (lambda: Loss(nan="ignore"), "loss: `nan` must be one of 'raise', 'warn', got 'ignore'"),
    (lambda: Loss(wait_every=0), "loss: `wait_every` must be a whole number >= 1, got 0"),
    (lambda: TopK(k=0), "TopK: `k` must be a whole number >= 1, got 0"),
    (lambda: Group([Loss("a")], total=["b"]), "group: `total` must be among 'a', got 'b'"),
    (lambda: Group([Loss("a"), Loss("a")]), "group: `name` must be another one for each metric, got 'a'"),
    (lambda: Group([Loss("a"), Loss("total_loss")], total=["a", "total_loss"]), "another one than that of the sum"),
    (lambda: Loss().update_dict({}, {"a": mx.nd.ones(2), "b": mx.nd.ones(2)}),
     r"loss: `output_names` must be of 1 output, got \['a', 'b'\]"),
    (lambda: Accuracy().update([], mx.nd.ones((2, 2))), "accuracy: `labels` must be given, got 'none'"),
    (lambda: Accuracy().update([mx.nd.ones(2)] * 3, [mx.nd.ones((2, 2))] * 2),
     "accuracy: `labels` must be of as many devices as preds, 2, got 3"),
    (lambda: from_symbol(network()).update(mx.nd.ones((2, 2)), [mx.nd.ones((2, 2))]),
     "group: `preds` must be 3, one for each of 'transpose.*_output', 'decay_output', 'shown_output', got 1"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_mistakes_are_told(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_an_estimator_takes_the_metrics(rng):
    data, label = rng.randn(40, 3).astype("float32"), rng.randint(0, 2, 40)
    loader = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(data, label.astype("float32")), batch_size=16)
    net = mx.gluon.nn.Dense(2)
    net.initialize(ctx=mx.cpu())
    accuracy = mxloss.metric.Accuracy()
    estimator = Estimator(net, mx.gluon.loss.SoftmaxCELoss(), train_metrics=[accuracy, TopK(k=1)],
                          trainer=mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.0}))
    estimator.fit(loader, epochs=1, val_data=loader)
    expected = np.mean(net(mx.nd.array(data)).asnumpy().argmax(axis=1) == label)
    assert accuracy.get() == ("training accuracy", pytest.approx(expected))
    assert [metric.get() for metric in estimator.val_metrics[:2]] == [
        ("validation accuracy", pytest.approx(expected)), ("validation top_1_accuracy", pytest.approx(expected))]


def test_a_gluon_loop_gives_lists_over_devices(rng):
    scores, label = rng.rand(6, 3), rng.randint(0, 3, 6)
    contexts = [mx.cpu(0), mx.cpu(1)]
    out, labels = (mx.gluon.utils.split_and_load(mx.nd.array(array), contexts) for array in (scores, label))
    accuracy = Accuracy()
    accuracy.update(labels, out)
    assert accuracy.get()[1] == np.mean(scores.argmax(axis=1) == label)
    by_name = Accuracy(output_names=["scores"], label_names=["klass"])
    by_name.update({"klass": labels, "other": labels}, {"features": out, "scores": out})
    assert by_name.get() == accuracy.get()
