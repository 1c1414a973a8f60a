"""Weights by schedule while training: every way to train agrees with float64 loops, and goes on where it stopped."""
import mxnet as mx
import numpy as np
import pytest

import mxloss
from tests import schedule_training as training
from tests.stopping import After
from tests.train.runs import assert_equal, numbers

DEVICES = pytest.mark.parametrize("number", [1, 2, 3])
STEPS = len(training.SIZES)


def assert_trained(made, steps=STEPS):
    np.testing.assert_allclose(made.get_params()[0]["score_weight"].asnumpy(), training.oracle()[0], rtol=1e-5)
    assert training.counts(made) == {name: [steps] * len(made._context) for name in ("softmax_step", "size_step")}


@DEVICES
@pytest.mark.parametrize(("kvstore", "on_kvstore"), [("device", "1"), ("device", "0"), ("local", "1")])
def test_module_trains_and_reports_like_the_loops(number, kvstore, on_kvstore, monkeypatch):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", on_kvstore)
    made = training.module(number, kvstore)
    values = training.train_module(made, training.batches())
    weight, wanted = training.oracle()
    np.testing.assert_allclose(values, wanted, rtol=2e-7, atol=2e-7)
    np.testing.assert_allclose(made.get_params()[0]["score_weight"].asnumpy(), weight, rtol=2e-7, atol=2e-7)
    assert training.counts(made) == {"softmax_step": [STEPS] * number, "size_step": [STEPS] * number}


def test_module_in_float32_without_a_kvstore():
    made = training.module(1, None, "float32")
    values = training.train_module(made, training.batches(), "float32")
    np.testing.assert_allclose(values, training.oracle()[1], rtol=1e-5)
    assert_trained(made)


@DEVICES
def test_fit_reports_each_batch_with_the_weight_that_it_had(number):
    some = training.batches((6,) * 5)
    data = mx.io.NDArrayIter(np.concatenate([data for data, _ in some]), np.concatenate([label for _, label in some]),
                             6)
    net, found = training.symbol(), []
    made = mx.mod.Module(net, context=training.devices(number))
    metric = mxloss.metric.from_symbol(net)

    def read(param):
        found.append(dict(param.eval_metric.get_name_value()))
        param.eval_metric.reset()

    made.fit(data, eval_data=data, eval_metric=metric, batch_end_callback=read, kvstore="device", num_epoch=1,
             arg_params={"score_weight": mx.nd.array(training.initial_weight())},
             initializer=mx.init.Zero(), allow_missing=True, validation_metric=mxloss.metric.from_symbol(net),
             optimizer_params={"learning_rate": training.LR, "momentum": training.MOMENTUM, "wd": 0.0})
    _, wanted = training.oracle([[batch] for batch in some])
    np.testing.assert_allclose([[values["softmax"], values["size"]] for values in found], wanted, rtol=1e-5)
    assert training.counts(made) == {"softmax_step": [5] * number, "size_step": [5] * number}  # none in validation
    assert made.get_params()[1]["size_step"].asscalar() == 5


@DEVICES
def test_module_goes_on_to_the_bit_from_a_checkpoint_of_mxnets(tmp_path, number):
    some = training.batches()
    straight = training.module(number)
    training.train_module(straight, some[:2])  # amid both schedules
    straight.save_checkpoint(str(tmp_path / "net"), 1, save_optimizer_states=True)
    values = training.train_module(straight, some[2:])

    net, arguments, states = mx.model.load_checkpoint(str(tmp_path / "net"), 1)
    assert states["softmax_step"].asscalar() == 2
    again = training.module(number, params=(arguments, states), net=net)
    again.load_optimizer_states(str(tmp_path / "net-0001.states"))
    np.testing.assert_array_equal(training.train_module(again, some[2:]), values)
    np.testing.assert_array_equal(again.get_params()[0]["score_weight"].asnumpy(),
                                  straight.get_params()[0]["score_weight"].asnumpy())
    assert training.counts(again) == training.counts(straight)


def test_the_buckets_of_a_module_count_together():
    made = mx.mod.BucketingModule(lambda key: (training.symbol(), ["data"], ["softmax_label"]), default_bucket_key=6)
    made.bind([mx.io.DataDesc("data", (6, training.FEATURES), "float64")],
              [mx.io.DataDesc("softmax_label", (6,), "float64")])
    made.init_params(arg_params={"score_weight": mx.nd.array(training.initial_weight(), dtype="float64")},
                     allow_missing=True)
    made.init_optimizer("device", "sgd", {"learning_rate": training.LR, "momentum": training.MOMENTUM, "wd": 0.0})
    for data, label in training.batches():
        batch = training.batch(data, label)
        batch.bucket_key = len(label)
        batch.provide_data = [mx.io.DataDesc("data", data.shape, "float64")]
        batch.provide_label = [mx.io.DataDesc("softmax_label", label.shape, "float64")]
        made._curr_module._optimizer.rescale_grad = 1 / len(label)
        made.forward_backward(batch)
        made.update()
    arguments, states = made.get_params()
    np.testing.assert_allclose(arguments["score_weight"].asnumpy(), training.oracle()[0], rtol=2e-7, atol=2e-7)
    assert states["size_step"].asscalar() == STEPS


def test_a_step_that_is_refused_is_not_counted():
    net = training.symbol(center=True)
    made = mx.mod.Module(net, context=training.devices(2))
    made.bind([mx.io.DataDesc("data", (6, training.FEATURES), "float64")],
              [mx.io.DataDesc("softmax_label", (6,), "float64")])
    made.init_params()
    made.init_optimizer("device", "withcenters", {"base": "sgd"})
    (data, label), *_ = training.batches()
    for labels, count in ((label, 1), (label + 5, 1), (label, 2)):
        made.forward_backward(training.batch(data, labels))
        if count == 1 and labels is not label:
            with pytest.raises(ValueError, match="Loss: `label` must be a whole number in"):
                made.update()
        else:
            made.update()
        assert set(map(tuple, training.counts(made).values())) == {(count, count)}
        assert made.get_outputs()[2].shape == (6,)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(("number", "on_kvstore"), [(1, False), (2, False), (2, True), (3, False), (3, True)])
def test_gluon_trains_and_reports_like_the_loops(number, hybridize, on_kvstore):
    made = training.whole(number, hybridize)
    counting = training.trainer(made, update_on_kvstore=on_kvstore)
    weight, wanted = training.oracle()
    for (data, label), each in zip(training.batches(), wanted):
        np.testing.assert_allclose(training.backward(made, data, label), each, rtol=2e-7, atol=2e-7)
        counting.step(len(label))
        made(mx.nd.array(data, dtype="float64"), mx.nd.array(label))  # evaluation counts nothing
    np.testing.assert_allclose(made.score.weight.list_data()[0].asnumpy(), weight, rtol=2e-7, atol=2e-7)
    for block in (made.softmax._scheduled, made.size):
        assert [array.asscalar() for array in block.step.list_data()] == [STEPS] * number


def test_a_step_of_several_batches_is_one_step():
    made = training.whole(2)
    made.score.collect_params().setattr("grad_req", "add")
    counting = training.trainer(made)
    some = training.batches((6, 4, 6, 6, 5, 6))
    groups = [some[:2], some[2:4], some[4:]]
    weight, wanted = training.oracle(groups, rescale=1 / 10)
    values = []
    for group in groups:
        values += [training.backward(made, data, label) for data, label in group]
        counting.step(10)
        made.score.collect_params().zero_grad()
    np.testing.assert_allclose(values, wanted, rtol=2e-7, atol=2e-7)
    np.testing.assert_allclose(made.score.weight.list_data()[0].asnumpy(), weight, rtol=2e-7, atol=2e-7)


@DEVICES
@pytest.mark.parametrize("hybridize", [False, True])
def test_the_schedules_of_a_group_train_and_report_like_the_loops(number, hybridize):
    net, losses = training.parts(number, hybridize)
    counting = training.trainer(net, losses)
    weight, wanted = training.oracle()
    for (data, label), (softmax, size) in zip(training.batches(), wanted):
        arrays = mx.nd.array(data, dtype="float64"), mx.nd.array(label, dtype="float64")
        values = mxloss.train_step(net, losses, counting, arrays)
        assert values["softmax"].asnumpy().mean() == pytest.approx(softmax, rel=1e-6)
        assert values["size"].asnumpy().mean() == pytest.approx(size, rel=1e-6)
    np.testing.assert_allclose(net.weight.list_data()[0].asnumpy(), weight, rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize("hybridize", [False, True])
def test_gluon_goes_on_to_the_bit_from_files_of_mxnets(tmp_path, hybridize):
    some = training.batches()
    straight = training.whole(2, hybridize)
    counting = training.trainer(straight)
    for data, label in some[:2]:
        training.backward(straight, data, label)
        counting.step(len(label))
    straight.save_parameters(str(tmp_path / "params"))
    counting.save_states(str(tmp_path / "states"))

    again = training.whole(2, hybridize)
    counting_again = training.trainer(again)
    training.backward(again, *some[0])  # a wrong step, which has to be forgotten
    counting_again.step(6)
    again.load_parameters(str(tmp_path / "params"), ctx=training.devices(2))
    counting_again.load_states(str(tmp_path / "states"))
    for data, label in some[2:]:
        values = [training.backward(made, data, label) for made in (straight, again)]
        np.testing.assert_array_equal(*values)
        counting.step(len(label))
        counting_again.step(len(label))
    np.testing.assert_array_equal(*[made.score.weight.list_data()[1].asnumpy() for made in (straight, again)])


def test_an_exported_network_is_imported_and_counts_on(tmp_path):
    some, (_, wanted) = training.batches(), training.oracle()
    made = training.whole(1, hybridize=True)
    counting = training.trainer(made)
    for data, label in some[:3]:
        training.backward(made, data, label)
        counting.step(len(label))
    made.export(str(tmp_path / "net"))
    assert "aux:whole_scheduledweight0_step" in mx.nd.load(str(tmp_path / "net-0000.params"))

    again = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data0", "data1"],
                                         str(tmp_path / "net-0000.params"))
    data, label = (mx.nd.array(array, dtype="float64") for array in some[3])
    with pytest.raises(ValueError, match="_step` must be among the parameters of the Trainer"), mx.autograd.record():
        again(data, label)
    counting = mx.gluon.Trainer(again.collect_params(), "sgd", {"learning_rate": training.LR, "wd": 0.0})
    for (data, label), each in zip(some[3:5], wanted[3:5]):
        with mx.autograd.record():
            softmax, size = again(mx.nd.array(data, dtype="float64"), mx.nd.array(label, dtype="float64"))
            total = softmax + size
        if data is some[3][0]:
            np.testing.assert_allclose([softmax.asnumpy().mean(), size.asnumpy().mean()], each, rtol=2e-7, atol=2e-7)
        total.backward()
        counting.step(len(label))
    steps = [parameter for name, parameter in again.collect_params().items() if name.endswith("_step")]
    assert [parameter.data().asscalar() for parameter in steps] == [5, 5]


def test_the_trainer_that_was_made_last_counts():
    made = training.whole(1)
    before, last = training.trainer(made), training.trainer(made)
    training.backward(made, *training.batches()[0])
    last.step(6)
    training.backward(made, *training.batches()[0])
    before.step(6)
    assert made.size.step.data().asscalar() == 1


def test_a_center_loss_warms_up_in_every_way():
    some = training.batches((6, 6, 6, 6))
    made = mx.mod.Module(training.symbol(center=True), context=training.devices(2))
    made.bind([("data", (6, training.FEATURES))], [("softmax_label", (6,))])
    made.init_params(mx.init.Zero())
    made.init_optimizer("device", "withcenters", {"base": "sgd"})
    block = mxloss.CenterLoss(training.CLASSES, training.FEATURES, weight=training.SCHEDULES["softmax"])
    block.initialize()
    plain = mxloss.CenterLoss(training.CLASSES, training.FEATURES)
    plain.initialize()
    trainers = [mx.gluon.Trainer(each.collect_params(), "withcenters", {"base": "sgd"}) for each in (block, plain)]
    for step, (data, label) in enumerate(some):
        arrays = mx.nd.array(data), mx.nd.array(label)
        by_module = mxloss.train_minibatch(made, training.batch(data, label, "float32"), "center")["center"].asnumpy()
        values = []
        for each, counting in zip((block, plain), trainers):
            with mx.autograd.record():
                loss = each(*arrays)
            loss.backward()
            counting.step(6)
            values.append(loss.asnumpy())
        wanted = training.by_hand(training.RISING, step) * values[1]
        np.testing.assert_allclose(values[0], wanted, rtol=1e-6)
        np.testing.assert_allclose(by_module, wanted, rtol=1e-5)
    np.testing.assert_allclose(block.class_centers().asnumpy(), plain.class_centers().asnumpy())  # no weight there


def samples():
    (data, label), = training.batches((22,))
    return data.astype("float32"), label.astype("float32")


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("stop", [2, 4])  # inside the first epoch of three batches, and inside the second
def test_fit_goes_on_amid_a_warm_up_to_the_bit(tmp_path, number, stop):
    def run(path=None, **options):
        made = mx.mod.Module(training.symbol(), context=training.devices(number))
        data = mxloss.io.ArrayIter(*samples(), 8, shuffle=True, seed=6)
        mxloss.fit(made, data, mxloss.io.ArrayIter(*samples(), 8), mxloss.metric.from_symbol(made.symbol),
                   num_epoch=3, seed=5, checkpoint=path, kvstore="device", **options,
                   optimizer_params={"learning_rate": 0.1, "momentum": 0.9})
        return made

    straight = run()
    run(tmp_path, stop=After(stop))
    resumed = run(tmp_path, resume=True)
    assert_equal(numbers(straight), numbers(resumed))
    assert training.counts(resumed) == {"softmax_step": [9] * number, "size_step": [9] * number}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("gathered", [1, 2])
def test_the_estimator_trains_and_goes_on_amid_a_warm_up_to_the_bit(tmp_path, hybridize, gathered):
    """Six batches in an epoch, the last of which is uneven; a step takes one of them or two."""
    def run(path=None, **options):
        net, losses = training.parts(2, hybridize, "float32")
        losses.set_weight("softmax", mxloss.WarmUp(0.6, steps=8))
        made = mxloss.estimator.Estimator(net, losses, trainer=training.trainer(net, losses))
        made.logger.handlers.clear()
        data = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(*samples()), 4)
        handlers = [mxloss.estimator.GradientUpdateHandler(batches=gathered)] if gathered > 1 else None
        made.fit(data, data, 2, seed=4, checkpoint=path, event_handlers=handlers, **options)
        found = {name: parameter.list_data()[1].asnumpy()
                 for name, parameter in {**net.collect_params(), **losses.collect_params()}.items()}
        return found, dict(metric.get_global() for metric in made.train_metrics)

    straight, values = run()
    assert straight["losses_softmax_weight_step"] == straight["losses_size_weight_step"] == 12 / gathered
    run(tmp_path, stop=After(4))
    resumed, again = run(tmp_path, resume=True)
    assert_equal(straight, resumed)
    assert values == again
    assert {"training softmax", "training size"} <= set(values)
