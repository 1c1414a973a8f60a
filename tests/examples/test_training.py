"""One model by `mxloss.fit`: same start, same batches, checkpoints, records, devices, ends."""
import json
import os

import mxnet as mx
import numpy as np
import pytest

import mxloss
from examples.mnist_center_loss import kept, network, training
from examples.mnist_center_loss.data import DataSet
from examples.mnist_center_loss.problem import Interrupted, Problem
from examples.mnist_center_loss.settings import Settings, batches, ended, shareable, smallest
from examples.mnist_center_loss.workers import Workers
from mxloss.checkpoint import Folder

CENTER = {"alpha": 0.5, "weight": 0.1, "batch_size": 8}


def settings(**changes):
    given = {"epochs": 2, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "wd": 0.0, "seed": 3, "contexts": [mx.cpu()]}
    return Settings(**{**given, **changes})


@pytest.fixture
def data(rng):
    label = (np.arange(35) % 10).astype(np.float32)
    image = rng.rand(35, 1, 28, 28).astype(np.float32)
    return DataSet("MNIST", "made up", image[:25], label[:25], image[25:], label[25:])


def trained(name, data, folder, **changes):
    """The network, and the parameters and auxiliary states of the last whole epoch."""
    if name == "softmax":
        net, labels = network.softmax_alone("mlp"), network.SOFTMAX_LABELS
    else:
        net, labels = network.softmax_and_center("mlp", **CENTER), network.CENTER_LABELS
    outcome = training.train(name, net, labels, data, settings(**changes), folder, "device")
    params = kept.export(folder, name, net, Workers())
    ended(name, outcome)
    return net, params


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_both_models_start_from_the_same_weights(tmp_path, data):
    first, second = (trained(name, data, tmp_path / name, epochs=1, lr=1e-30)[1][0] for name in ("softmax", "center"))
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name].asnumpy(), second[name].asnumpy(), atol=1e-20)
    other = trained("softmax", data, tmp_path / "other", epochs=1, lr=1e-30, seed=4)[1][0]
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


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_every_split_of_every_epoch_has_its_losses_and_its_checkpoint(tmp_path, data, devices, capsys):
    net, (arg_params, aux_params) = trained("center", data, tmp_path,
                                            contexts=[mx.cpu(number) for number in range(devices)])
    assert [(row["epoch"], row["model"], row["split"]) for row in rows(tmp_path)] == [
        (1, "center", "train"), (1, "center", "validation"), (2, "center", "train"), (2, "center", "validation")]
    for row in rows(tmp_path):
        assert row["total_loss"] == pytest.approx(row["softmax_loss"] + row["center_loss"])
        assert 0 <= row["accuracy"] <= 1
    assert len(capsys.readouterr().out.splitlines()) == 4

    assert sorted(os.listdir(str(tmp_path))) == ["center-0002.params", "center-symbol.json", "checkpoints",
                                                 "metrics.jsonl"]
    assert Folder(tmp_path / "checkpoints" / "center").list() == [(1, 0), (2, 0)]
    loaded, arg_loaded, aux_loaded = mx.model.load_checkpoint(str(tmp_path / "center"), 2)
    assert loaded.tojson() == net.tojson()
    for one, other in ((arg_params, arg_loaded), (aux_params, aux_loaded)):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name].asnumpy(), other[name].asnumpy())
    assert aux_loaded["center_loss__center_bias"].abs().sum().asscalar() > 0


def test_the_losses_of_the_test_images_are_those_of_the_checkpoint(tmp_path, data):
    net, (arg_params, aux_params) = trained("center", data, tmp_path)
    module = mx.mod.Module(net, label_names=network.CENTER_LABELS)
    stream = batches(data.test_image, data.test_label, network.CENTER_LABELS, settings())
    module.bind(stream.provide_data, stream.provide_label, for_training=False)
    module.set_params(arg_params, aux_params)
    by_hand = dict(module.score(stream, mxloss.metric.from_symbol(net)))
    assert {name: rows(tmp_path)[-1][name] for name in by_hand} == pytest.approx(by_hand, rel=1e-4)


def test_no_forward_pass_but_those_of_training_and_test(tmp_path, data, monkeypatch):
    passes = []
    forward = mx.mod.Module.forward

    def counted(module, batch, is_train=None):
        passes.append((is_train, len(batch.label[0])))
        return forward(module, batch, is_train)

    monkeypatch.setattr(mx.mod.Module, "forward", counted)
    trained("center", data, tmp_path, epochs=1)
    assert passes == [(True, 8), (True, 8), (True, 8), (True, 1), (False, 8), (False, 2)]


def test_a_training_that_diverges_is_a_problem_and_keeps_the_epoch_before(tmp_path, data):
    with pytest.raises(Problem, match=r"^the training of softmax diverged \(.*\): choose a smaller --lr or"):
        trained("softmax", data, tmp_path, lr=1e30, epochs=6)
    for row in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in row
    for path in tmp_path.glob("*.params"):
        assert all(np.isfinite(array.asnumpy()).all() for array in mx.nd.load(str(path)).values())


def test_the_learning_rate_falls_along_a_cosine_or_in_steps():
    def rates(**changes):
        optimizer = mx.optimizer.create("withcenters", **settings(epochs=4, **changes).optimizer_params(10))
        return [optimizer.lr_scheduler(step) for step in (1, 10, 11, 30, 31, 40)]

    assert rates(lr_steps=(1, 3)) == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005])
    cosine = [0.0005 + 0.0495 * (1 + np.cos(np.pi * step / 40)) / 2 for step in (1, 10, 11, 30, 31, 40)]
    assert rates() == pytest.approx(cosine)


def test_a_loss_at_its_target_ends_the_training_of_the_models_that_have_it(tmp_path, data, capsys):
    trained("center", data, tmp_path, epochs=9, targets=(("center_loss", 1e9),))
    assert rows(tmp_path)[-1]["epoch"] == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("center: center_loss reached ")
    trained("softmax", data, tmp_path, epochs=2, targets=(("center_loss", 1e9),))
    assert rows(tmp_path)[-1]["epoch"] == 2


def test_an_interrupt_keeps_the_batch_and_what_is_resumed_is_the_run_that_was_not(tmp_path, data):
    trained("center", data, tmp_path / "straight", epochs=4, batch_size=4)
    with pytest.raises(Interrupted) as end:
        trained("center", data, tmp_path / "cut", epochs=4, batch_size=4, interrupt_at=2)
    assert end.value.args == (130,)
    assert Folder(tmp_path / "cut" / "checkpoints" / "center").list() == [(1, 0), (1, 5)]
    assert (tmp_path / "cut" / "center-0001.params").exists()
    trained("center", data, tmp_path / "cut", epochs=4, batch_size=4, resume=True)
    straight, resumed = (mx.nd.load(str(tmp_path / name / "center-0004.params")) for name in ("straight", "cut"))
    assert sorted(straight) == sorted(resumed)
    for name in straight:
        np.testing.assert_array_equal(straight[name].asnumpy(), resumed[name].asnumpy())


def test_worker_0_alone_shows_and_writes(tmp_path):
    assert settings(workers=Workers(1, 2)).watchers(mxloss.callback, tmp_path, "center") == []
    assert len(settings(workers=Workers(0, 2), tensorboard=str(tmp_path)).watchers(mxloss.callback, tmp_path, "a")) == 3


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
    assert stream.num_batch == len(sizes)


@pytest.mark.parametrize(("samples", "batch_size", "devices"), [(2, 8, 3), (100, 3, 4), (10, 4, 4), (5, 128, 1000)])
def test_a_batch_that_devices_cannot_share_is_a_problem(samples, batch_size, devices):
    with pytest.raises(Problem, match="^{} devices cannot share {} images in batches of {}: ".format(
            devices, samples, batch_size)):
        smallest(samples, batch_size, devices)
