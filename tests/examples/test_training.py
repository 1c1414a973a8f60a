"""One model by Module.fit: same start, same batches, checkpoints, records, devices, Ctrl-C."""
import json
import os
import signal

import mxnet as mx
import numpy as np
import pytest

import mxloss
from examples.mnist_center_loss import network, training
from examples.mnist_center_loss.data import DataSet
from examples.mnist_center_loss.problem import Problem
from examples.mnist_center_loss.training import Checkpoint, Interrupt, Record, batch_count, batches, shareable, smallest

CENTER = {"alpha": 0.5, "weight": 0.1, "batch_size": 8}


def settings(**changes):
    given = {"epochs": 2, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "wd": 0.0, "seed": 3, "contexts": [mx.cpu()]}
    return training.Settings(**{**given, **changes})


@pytest.fixture
def data(rng):
    label = (np.arange(35) % 10).astype(np.float32)
    image = rng.rand(35, 1, 28, 28).astype(np.float32)
    return DataSet("MNIST", "made up", image[:25], label[:25], image[25:], label[25:])


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path / "metrics.jsonl", 2, terminal=False)


def trained(name, data, folder, record, **changes):
    if name == "softmax":
        net, labels = network.softmax_alone("mlp"), network.SOFTMAX_LABELS
    else:
        net, labels = network.softmax_and_center("mlp", **CENTER), network.CENTER_LABELS
    with Interrupt() as stop:
        epochs = training.Epochs(name, net, data, folder, record)
        return net, training.train(name, net, labels, data, settings(**changes), epochs, stop, "device")


def test_both_models_start_from_the_same_weights(tmp_path, data, record):
    first, second = (trained(name, data, tmp_path, record, epochs=1, lr=1e-30)[1][0] for name in ("softmax", "center"))
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name].asnumpy(), second[name].asnumpy(), atol=1e-20)
    other = trained("softmax", data, tmp_path, record, epochs=1, lr=1e-30, seed=4)[1][0]
    assert np.abs(first["full1_weight"].asnumpy() - other["full1_weight"].asnumpy()).max() > 0.01


def test_both_models_see_the_same_batches_in_an_order_that_changes(data):
    orders = []
    for labels in (network.SOFTMAX_LABELS, network.CENTER_LABELS):
        stream = batches(data.train_image, data.train_label, labels, settings(), shuffle=True)
        order = []
        for _ in range(2):
            order.append([batch.data[0][:, 0, 0, 0].asnumpy().tolist() for batch in stream])
            stream.reset()
        assert order[0] != order[1]
        assert sorted(sum(order[0], [])) == sorted(data.train_image[:, 0, 0, 0].tolist())
        orders.append(order)
    assert orders[0] == orders[1]


def test_the_same_seed_gives_the_same_training(tmp_path, data, record):
    (_, first), (_, second) = (trained("center", data, tmp_path, record) for _ in range(2))
    for one, other in zip(first, second):
        for name in one:
            np.testing.assert_allclose(one[name].asnumpy(), other[name].asnumpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_every_split_of_every_epoch_has_its_losses_and_its_checkpoint(tmp_path, data, devices, capsys):
    clock = iter(np.arange(0, 100, 0.5))
    record = Record(tmp_path / "metrics.jsonl", 2, clock=lambda: next(clock), terminal=False)
    net, (arg_params, aux_params) = trained("center", data, tmp_path, record,
                                            contexts=[mx.cpu(number) for number in range(devices)])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["model"], row["split"]) for row in rows] == [
        (1, "center", "train"), (1, "center", "test"), (2, "center", "train"), (2, "center", "test")]
    for row in rows:
        assert row["total_loss"] == pytest.approx(row["softmax_loss"] + row["center_loss"])
        assert 0 <= row["accuracy"] <= 1
        assert row["samples_per_second"] == (25 if row["split"] == "train" else 10) / 0.5
    assert len(capsys.readouterr().out.splitlines()) == 4

    assert sorted(os.listdir(str(tmp_path))) == ["center-0002.params", "center-symbol.json", "metrics.jsonl"]
    loaded, arg_loaded, aux_loaded = mx.model.load_checkpoint(str(tmp_path / "center"), 2)
    assert loaded.tojson() == net.tojson()
    for one, other in ((arg_params, arg_loaded), (aux_params, aux_loaded)):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name].asnumpy(), other[name].asnumpy())
    assert aux_loaded["center_loss__center_bias"].abs().sum().asscalar() > 0


def test_the_losses_of_the_test_split_are_those_of_the_checkpoint(tmp_path, data, record):
    net, (arg_params, aux_params) = trained("center", data, tmp_path, record)
    module = mx.mod.Module(net, label_names=network.CENTER_LABELS)
    stream = batches(data.test_image, data.test_label, network.CENTER_LABELS, settings())
    module.bind(stream.provide_data, stream.provide_label, for_training=False)
    module.set_params(arg_params, aux_params)
    by_hand = dict(module.score(stream, mxloss.metric.from_symbol(net)))
    row = json.loads(record.lines[-1])
    assert {name: row[name] for name in by_hand} == pytest.approx(by_hand, rel=1e-4)


def test_no_forward_pass_but_those_of_training_and_test(tmp_path, data, record, monkeypatch):
    passes = []
    forward = mx.mod.Module.forward

    def counted(module, batch, is_train=None):
        passes.append((is_train, len(batch.label[0])))
        return forward(module, batch, is_train)

    monkeypatch.setattr(mx.mod.Module, "forward", counted)
    trained("center", data, tmp_path, record, epochs=1)
    assert passes == [(True, 8), (True, 8), (True, 8), (True, 1), (False, 8), (False, 2)]


def test_a_training_that_diverges_is_a_problem_and_keeps_the_epoch_before(tmp_path, data, record):
    with pytest.raises(Problem, match=r"^the training of softmax diverged \(.*\): choose a smaller --lr or"):
        trained("softmax", data, tmp_path, record, lr=1e30, epochs=6)
    assert not [name for name in os.listdir(str(tmp_path)) if name.endswith(".part")]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if record.lines else []:
        assert "NaN" not in line
    for path in tmp_path.glob("*.params"):
        assert all(np.isfinite(array.asnumpy()).all() for array in mx.nd.load(str(path)).values())


@pytest.mark.parametrize(("samples", "batch_size", "devices", "sizes"), [
    (25, 8, 1, [8, 8, 8, 1]), (25, 8, 2, [8, 8, 9]), (26, 8, 2, [8, 8, 8, 2]), (25, 100, 3, [25]),
    (22, 8, 4, [8, 14]), (24, 8, 8, [8, 8, 8]), (3, 3, 3, [3]),
])
def test_each_device_gets_a_sample_of_every_batch(samples, batch_size, devices, sizes):
    contexts = [mx.cpu(number) for number in range(devices)]
    stream = batches(np.zeros((samples, 1)), np.zeros(samples), ["label"],
                     settings(batch_size=batch_size, contexts=contexts))
    assert [len(batch.label[0]) for batch in stream] == sizes
    assert all(shareable(size, devices) for size in sizes)
    assert batch_count(samples, batch_size, devices) == len(sizes)


@pytest.mark.parametrize(("samples", "batch_size", "devices"), [(2, 8, 3), (100, 3, 4), (10, 4, 4), (5, 128, 1000)])
def test_a_batch_that_devices_cannot_share_is_a_problem(samples, batch_size, devices):
    with pytest.raises(Problem, match="^{} devices cannot share {} images in batches of {}: ".format(
            devices, samples, batch_size)):
        smallest(samples, batch_size, devices)


def parameters(value):
    return mx.sym.Variable("w"), {"w": mx.nd.array([value])}, {"center_bias": mx.nd.array([-value])}


def test_a_checkpoint_takes_the_place_of_the_one_before_it(tmp_path):
    keep = Checkpoint(tmp_path, "model")
    for epoch in (1, 2, 3):
        keep(epoch, *parameters(epoch))
        assert sorted(os.listdir(str(tmp_path))) == ["model-{:04d}.params".format(epoch), "model-symbol.json"]
        _, arg_params, aux_params = mx.model.load_checkpoint(str(tmp_path / "model"), epoch)
        assert (arg_params["w"].asscalar(), aux_params["center_bias"].asscalar()) == (epoch, -epoch)


@pytest.mark.parametrize("harm", ["fails", "cuts"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, harm):
    keep = Checkpoint(tmp_path, "model")
    keep(1, *parameters(1))
    save = mx.nd.save

    def broken(path, arrays):
        if harm == "fails":
            raise mx.base.MXNetError("trace\nFileStream.Write incomplete")
        save(path, arrays)
        os.truncate(path, os.path.getsize(path) - 20)

    monkeypatch.setattr(mx.nd, "save", broken)
    with pytest.raises(Problem, match=r"^cannot write .*model-0002.params: .*; make room or choose another folder$"):
        keep(2, *parameters(2))
    assert sorted(os.listdir(str(tmp_path))) == ["model-0001.params", "model-symbol.json"]
    assert mx.model.load_checkpoint(str(tmp_path / "model"), 1)[1]["w"].asscalar() == 1


def test_ctrl_c_waits_for_the_end_of_a_batch():
    steps = []

    def run():
        with Interrupt() as stop:
            for step in range(3):
                if step == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                steps.append(step)
                stop()

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == [0, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_not_lost_after_the_last_batch():
    with pytest.raises(KeyboardInterrupt), Interrupt():
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_does_not_wait():
    steps = []

    def run():
        with Interrupt():
            for step in range(3):
                steps.append(step)
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == [0, 1]


def test_a_stop_in_the_third_epoch_leaves_the_second(tmp_path, data, record):
    stop = Interrupt()

    def stop_in_third_epoch(param=None):
        stop.asked = len(record.lines) == 4  # two lines per epoch
        stop()

    net = network.softmax_alone("mlp")
    epochs = training.Epochs("softmax", net, data, tmp_path, record)
    with pytest.raises(KeyboardInterrupt):
        training.train("softmax", net, network.SOFTMAX_LABELS, data, settings(epochs=5), epochs, stop_in_third_epoch,
                       "device")
    (tmp_path / "metrics.jsonl").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["softmax-0002.params", "softmax-symbol.json"]
    mx.model.load_checkpoint(str(tmp_path / "softmax"), 2)
