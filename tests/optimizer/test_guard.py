"""What would go silently wrong with centers is an error, raised before anything has changed."""
import re

import mxnet as mx
import numpy as np
import pytest

import mxloss
from tests import center_training as training
from tests.oracle import Oracle, assert_agree

LOSS = {"alpha": 0.4, "weight": 0.3}
DEVICES = pytest.mark.parametrize("number", [1, 2, 3])
BAD = pytest.mark.parametrize("bad", [7.0, -1.0, 1.5, np.nan, np.inf])


def scheduled():
    return {"base": "sgd", "momentum": 0.9, "lr_scheduler": mx.lr_scheduler.FactorScheduler(1, 0.5, base_lr=0.4)}


def oracle_of_the_good(good, rescale):
    """The oracle after batches under `scheduled`, as if there had been no other batch."""
    wanted = Oracle(training.initial_weights(), training.NUM_CLASS, momentum=0.9, **LOSS)
    scheduler = scheduled()["lr_scheduler"]
    for number, (data, label) in enumerate(good):
        wanted.step(data, label, lr=scheduler(number + 1), rescale=rescale)
    return wanted


@BAD
@DEVICES
@pytest.mark.parametrize("kvstore", ["device", "local"])
def test_a_bad_label_in_module_changes_nothing_and_the_next_batch_trains_on(number, kvstore, bad):
    made, block = training.module(number, kvstore=kvstore, params=scheduled(), separate=True, **LOSS)
    good = training.batches((12, 12, 12))
    for position, (data, label) in enumerate(good):
        if position == 1:
            broken = label.copy()
            broken[8] = bad
            made.forward_backward(mx.io.DataBatch([mx.nd.array(data, dtype="float64")], [
                mx.nd.array(label, dtype="float64"), mx.nd.array(broken, dtype="float64")]))
            with pytest.raises(ValueError, match=re.escape(
                    "CenterLoss: `label` must be a whole number in [0, 6], got {} in row 8".format(bad))):
                made.update()
        training.step_module(made, data, label)
    assert_agree(oracle_of_the_good(good, 1 / 12), *training.module_state(made, block))


@BAD
@pytest.mark.parametrize(("number", "on_kvstore"), [(1, False), (2, False), (2, True), (3, False), (3, True)])
def test_a_bad_label_in_a_hybridized_network_changes_nothing(number, on_kvstore, bad):
    made = training.net(number, **LOSS)
    trainer = training.trainer(made, params=scheduled(), update_on_kvstore=on_kvstore)
    good = training.batches((12, 12, 12))
    for position, (data, label) in enumerate(good):
        if position == 1:
            broken = label.copy()
            broken[8] = bad
            training.backward_net(made, data, broken)
            with pytest.raises(ValueError, match=re.escape("`label` must be a whole number in [0, 6], got 'another")):
                trainer.step(12)
        training.step_net(made, trainer, data, label)
    assert_agree(oracle_of_the_good(good, 1 / 12), *training.net_state(made))


class Watching(mx.metric.EvalMetric):
    """A metric that reads nothing of what it is given, and counts how often it is."""

    def __init__(self):
        super().__init__("watching")

    def update(self, labels, preds):
        self.num_inst += 1


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("metric", ["acc", Watching])
@pytest.mark.parametrize("position", [0, 2])
def test_fit_stops_at_the_batch_with_a_bad_label_whatever_the_metric_reads(number, metric, position):
    label = np.arange(24) % 7.0
    label[8 * position + 3] = 7
    made, block = training.module(number, batch_size=8, dtype="float32", init=False)
    seen = []
    with pytest.raises(ValueError, match="got 7.0 in row 3"):
        made.fit(mx.io.NDArrayIter(np.ones((24, training.IN)), label, 8), num_epoch=1, optimizer="withcenters",
                 eval_metric=mx.metric.Accuracy(output_names=["softmax_output"]) if metric == "acc" else metric(),
                 kvstore="device", batch_end_callback=lambda param: seen.append(param.nbatch))
    assert len(seen) == position


def test_in_a_deep_network_no_layer_moves_either():
    """Deep enough for MXNet to run it in several pieces, of which most never see the label of the center loss."""
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    feature = mx.sym.FullyConnected(data, num_hidden=4, name="embedding")
    layer = feature
    for number in range(25):
        layer = mx.sym.tanh(mx.sym.FullyConnected(layer, num_hidden=6, name="fc{}".format(number)))
    block = mxloss.CenterLoss(6, 4, prefix="center_loss_")
    net = mx.sym.Group([mx.sym.SoftmaxOutput(layer, label, name="softmax"),
                        mx.sym.MakeLoss(block(feature, mx.sym.var("center_label")), name="center_loss")])
    for number in (1, 2):
        made = mx.mod.Module(net, label_names=["softmax_label", "center_label"], context=training.devices(number))
        made.bind([("data", (8, 3))], [("softmax_label", (8,)), ("center_label", (8,))])
        made.init_params(mx.init.Xavier())
        made.init_optimizer("device", "withcenters", {"base": "nadam", "learning_rate": 0.1})
        before = {name: value.asnumpy().copy() for name, value in made.get_params()[0].items()}
        labels = mx.nd.array(np.arange(8) % 6)
        bad = labels.copy()
        bad[5] = 6
        made.forward_backward(mx.io.DataBatch([mx.nd.ones((8, 3))], [labels, bad]))
        with pytest.raises(ValueError, match="`label`"):
            made.update()
        for name, value in made.get_params()[0].items():
            np.testing.assert_array_equal(value.asnumpy(), before[name], err_msg=name)
        assert made._optimizer.num_update == 0


def test_an_error_that_is_not_about_labels_is_left_as_it_is():
    made, _ = training.module(1, dtype="float32")
    made.forward_backward(training.batch(*training.batches()[0], dtype="float32"))
    grad = made._exec_group.grad_arrays[made._param_names.index("center_loss_centers")][0]
    grad[:] = mx.nd.linalg.potrf(-mx.nd.ones((1, 1)))  # any error of the engine's will do
    with pytest.raises(mx.base.MXNetError, match="spotrf failed"):
        made.update()


OTHERS = ["sgd", "adam", "signum", "ftrl"]


@DEVICES
@pytest.mark.parametrize("name", OTHERS)
def test_module_refuses_another_optimizer_when_it_is_initialized(number, name):
    with pytest.raises(ValueError, match="Module: `optimizer` must be 'withcenters'.*got '{}'".format(name)):
        training.module(number, optimizer=name, params={"learning_rate": 0.1})
    with pytest.raises(ValueError, match="Module: `optimizer` must be 'withcenters'"):
        training.module(number, optimizer=mx.optimizer.create(name), params={})


def test_a_network_with_centers_refuses_another_optimizer_even_where_mxloss_does_not_look():
    net, _ = training.symbol()
    with pytest.raises(ValueError, match="CenterLoss: `optimizer` must be 'withcenters'"):
        mx.optimizer.SGD(sym=mx.sym.load_json(net.tojson()))


@DEVICES
@pytest.mark.parametrize("name", OTHERS)
def test_a_trainer_refuses_another_optimizer_at_the_first_step(number, name):
    made = training.net(number, **LOSS)
    trainer = training.trainer(made, optimizer=name, params={"learning_rate": 0.1})
    before = training.net_state(made)
    training.backward_net(made, *training.batches()[0])
    message = "Trainer: `optimizer` must be 'withcenters'.*`center_loss_centers`.*got '{}'".format(name)
    with pytest.raises(ValueError, match=message):
        trainer.step(12)
    for value, wanted in zip(training.net_state(made)[0].values(), before[0].values()):
        np.testing.assert_array_equal(value, wanted)


def test_several_devices_need_a_kvstore():
    with pytest.raises(ValueError, match="Module: `kvstore` must be 'device' or 'local', to add up"):
        training.module(2, kvstore=None)
    made = training.net(2)
    training.backward_net(made, *training.batches()[0])
    with pytest.raises(ValueError, match="Trainer: `kvstore` must be 'device' or 'local'"):
        training.trainer(made, kvstore=None).step(12)
    training.module(1, kvstore=None)


def test_gradient_compression_is_refused():
    compression = {"type": "2bit", "threshold": 0.5}
    made = training.net(2)
    training.backward_net(made, *training.batches()[0])
    with pytest.raises(ValueError, match="Trainer: `compression_params` must be None"):
        training.trainer(made, compression_params=compression).step(12)
    net, _ = training.symbol()
    module = mx.mod.Module(net, context=training.devices(2), compression_params=compression)
    module.bind([("data", (8, training.IN))], [("softmax_label", (8,))])
    module.init_params()
    with pytest.raises(ValueError, match="Module: `compression_params` must be None"):
        module.init_optimizer("device", "withcenters")


def test_row_sparse_centers_in_module_off_the_kvstore_are_refused(monkeypatch):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", "0")
    with pytest.raises(ValueError, match="Module: `kvstore` must be one that updates by itself"):
        training.module(2, sparse_grad=True)
    training.module(1, sparse_grad=True)
    training.module(2)


def test_row_sparse_gradients_cannot_be_added():
    made = training.net(1, sparse_grad=True)
    with pytest.raises(ValueError, match="CenterLoss: `grad_req` must be 'write' with sparse_grad=True"):
        made.collect_params().setattr("grad_req", "add")
    with pytest.raises(ValueError, match="Module: `grad_req` must be 'write' with a CenterLoss of sparse_grad=True"):
        training.module(1, sparse_grad=True, grad_req="add")


@pytest.mark.parametrize(("settings", "kvstore", "message"), [
    ({}, "dist_sync", "Trainer: `update_on_kvstore` must be False: a parameter server cannot move centers"),
    ({"update_on_kvstore": True}, "dist_device_sync", "Trainer: `update_on_kvstore` must be False"),
    ({"update_on_kvstore": False}, "dist_async", "Trainer: `kvstore` must be 'dist_sync'"),
])
def test_a_trainer_keeps_centers_from_the_parameter_server(settings, kvstore, message):
    made = training.net(1)
    training.backward_net(made, *training.batches()[0])
    with pytest.raises(ValueError, match=re.escape(message)):  # before any server is looked for
        training.trainer(made, kvstore=kvstore, **settings).step(12)


def test_module_keeps_centers_from_the_parameter_server(monkeypatch):
    monkeypatch.delenv("MXNET_UPDATE_ON_KVSTORE", raising=False)
    with pytest.raises(ValueError, match="Module: `MXNET_UPDATE_ON_KVSTORE` must be 0 in the environment"):
        training.module(1, kvstore="dist_sync")
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", "0")
    with pytest.raises(ValueError, match="Module: `kvstore` must be 'dist_sync'"):
        training.module(1, kvstore="dist_async")
    with pytest.raises(ValueError, match="CenterLoss: `sparse_grad` must be False on several machines"):
        training.module(1, kvstore="dist_sync", sparse_grad=True)
    made = training.net(1, sparse_grad=True)
    training.backward_net(made, *training.batches()[0])
    with pytest.raises(ValueError, match="CenterLoss: `sparse_grad` must be False on several machines"):
        training.trainer(made, kvstore="dist_sync", update_on_kvstore=False).step(12)


@pytest.mark.parametrize("sparse_grad", [False, True])
def test_clipping_the_statistic_with_the_gradients_is_noticed_before_anything_moves(sparse_grad):
    made = training.net(2, dtype="float32", sparse_grad=sparse_grad)
    trainer = training.trainer(made, update_on_kvstore=False)
    before = training.net_state(made)
    training.backward_net(made, *training.batches()[0], dtype="float32")
    trainer.allreduce_grads()
    for ctx in training.devices(2):
        for parameter in made.collect_params().values():
            if parameter.grad_req != "null":
                parameter.grad(ctx)[:] = parameter.grad(ctx) * 0.3
    with pytest.raises(ValueError, match="`gradient of the centers` must be left to 'withcenters', and never clipped"):
        trainer.update(12)
    np.testing.assert_array_equal(training.net_state(made)[1], before[1])


def test_counts_that_another_hand_has_moved_are_noticed_in_the_graph():
    made, _ = training.module(1)
    data, label = training.batches()[0]
    arguments, _ = made.get_params()
    spoiled = arguments["center_loss_centers"].copy()
    spoiled[0, -1] = -0.25
    made.set_params({"center_loss_centers": spoiled}, {}, allow_missing=True)
    made.forward_backward(training.batch(data, label))
    with pytest.raises(ValueError, match="`centers` must be left to 'withcenters'.*that are no whole numbers"):
        made.update()


def test_networks_without_centers_are_left_alone():
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(data, num_hidden=3, name="fc"), label, name="softmax")
    made = mx.mod.Module(net, context=training.devices(2))
    made.fit(mx.io.NDArrayIter(np.ones((8, 2)), np.zeros(8), 4), num_epoch=1, kvstore=None)
