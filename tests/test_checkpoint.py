"""A checkpoint is there whole or not at all, and what is broken or another's is told in words."""
import json
import os
import shutil

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.checkpoint import Folder, metric_state, restore_metric

PARAMS = {"arg:w": mx.nd.array([[1.5, -2], [0.25, 3]]), "aux:m": mx.nd.array([7])}


def save(folder, epoch=1, batch=0, **options):
    return folder.save(epoch, batch, PARAMS, {"seen": [1, 2]}, symbol=mx.sym.var("w") + mx.sym.var("m"), **options)


def loss(value, data="train"):
    return {data: {"loss": value}}


def test_what_was_saved_is_loaded(tmp_path):
    folder = Folder(tmp_path / "new" / "folder")
    path = save(folder, 2, 3)
    checkpoint = folder.load()
    assert checkpoint[:2] == (2, 3)
    assert checkpoint.state == {"seen": [1, 2]}
    assert checkpoint.path == path
    assert sorted(checkpoint.params) == sorted(PARAMS)
    for name, array in PARAMS.items():
        np.testing.assert_array_equal(checkpoint.params[name].asnumpy(), array.asnumpy())


def test_an_empty_folder_has_none(tmp_path):
    for folder in (Folder(tmp_path), Folder(tmp_path / "no")):
        assert folder.load() is None
        assert folder.list() == []
        folder.clean()


@pytest.mark.parametrize("name", ["model-0001.params", "model-symbol.json", "state.pickle", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "gone"])
def test_a_damaged_file_is_named(tmp_path, name, damage):
    folder = Folder(tmp_path)
    file = save(folder) / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-1], "empty": b"", "changed": bytes([content[0] ^ 1]) + content[1:]}[damage])
    with pytest.raises(ValueError, match=r"checkpoint: `.*0001-000000/{}` must be ".format(name)):
        folder.load()


@pytest.mark.parametrize(("manifest", "words"), [
    ([], "must be the manifest of a checkpoint of mxloss, got"),
    ({"format": "another's"}, "must be the manifest of a checkpoint of mxloss, got"),
    ({"format": "mxloss checkpoint", "version": 99}, "must be of version 1, got 99"),
])
def test_a_foreign_manifest_is_told(tmp_path, manifest, words):
    folder = Folder(tmp_path)
    (save(folder) / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=words):
        folder.load()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Folder: `path` must be a folder, got"):
        Folder(tmp_path / "file")


def test_what_else_stands_in_the_folder_stays(tmp_path):
    for name in ("notes", "0001", "12-34", ".git"):
        (tmp_path / name).mkdir()
    folder = Folder(tmp_path, keep=1)
    for epoch in range(3):
        save(folder, epoch)
    folder.clean()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        ["notes", "0001", "12-34", ".git", "0002-000000"])


@pytest.mark.parametrize("moment", ["fsync", "rename"])
def test_an_error_while_it_is_written_leaves_those_before(tmp_path, monkeypatch, moment):
    folder = Folder(tmp_path, keep=1)
    save(folder, 1)

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, moment, full)
    with pytest.raises(OSError, match="No space"):
        save(folder, 2)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["0001-000000"]
    assert folder.load()[:2] == (1, 0)


@pytest.mark.parametrize("harm", ["fails", "cuts"])
def test_parameters_that_mxnet_could_not_write_whole_are_no_checkpoint(tmp_path, monkeypatch, harm):
    """A full disk cuts its files off, without an error in some cases."""
    folder = Folder(tmp_path, keep=1)
    save(folder, 1)
    write = mx.nd.save

    def broken(path, arrays):
        if harm == "fails":
            raise mx.base.MXNetError("trace\nFileStream.Write incomplete")
        write(path, arrays)
        os.truncate(path, os.path.getsize(path) - 20)

    monkeypatch.setattr(mx.nd, "save", broken)
    with pytest.raises(OSError, match="cannot write .*model-0002.params: "):
        save(folder, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["0001-000000"]


def test_leftovers_of_a_killed_process_are_never_loaded_and_are_removed(tmp_path):
    folder = Folder(tmp_path)
    path = save(folder, 1)
    for leftover in (".0002-000000.4711.part", ".0000-000003.4711.removed"):
        shutil.copytree(str(path), str(tmp_path / leftover))
    assert folder.list() == [(1, 0)]
    folder.clean()
    assert [entry.name for entry in tmp_path.iterdir()] == ["0001-000000"]


def test_what_comes_after_a_place_is_forgotten(tmp_path):
    folder = Folder(tmp_path, keep=9)
    for place in ((1, 0), (1, 3), (2, 0)):
        save(folder, *place)
    folder.rewind((1, 3))
    assert folder.list() == [(1, 0), (1, 3)]


def test_the_last_and_the_best_are_kept(tmp_path):
    folder = Folder(tmp_path, keep=2, best=("loss", "min"))
    for epoch, value in enumerate([5, 1, 1, float("nan"), 3]):
        save(folder, epoch, values=loss(value))
        save(folder, epoch, 7)  # inside an epoch: has no values, is not compared
    assert folder.list() == [(1, 0), (4, 0), (4, 7)]
    assert folder.load("best")[:2] == (1, 0)  # the first of two that are as good
    assert Folder(tmp_path, best=("loss", "max")).load("best")[:2] == (4, 0)


def test_best_by_what_the_validation_says(tmp_path):
    folder = Folder(tmp_path, keep=1, best=("loss", "max", "validation"))
    for epoch, value in enumerate([1, 3, 2]):
        save(folder, epoch, values=dict(loss(-value), **loss(value, "validation")))
    assert folder.load("best").values["validation"] == {"loss": 3}


@pytest.mark.parametrize(("values", "words"), [
    (loss(1, "validation"), "Folder: `best` must be among .*, got 'loss'"),
    ({"train": {"accuracy": 1}}, "Folder: `best` must be among 'accuracy', got 'loss'"),
])
def test_a_best_value_that_is_not_there_is_told_before_anything_is_written(tmp_path, values, words):
    with pytest.raises(ValueError, match=words):
        save(Folder(tmp_path, best=("loss", "min")), values=values)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"keep": 0}, ValueError, "Folder: `keep` must be a whole number >= 1, got 0"),
    ({"every": 1.5}, TypeError, "Folder: `every` must be a whole number, got 1.5"),
    ({"best": "loss"}, ValueError, "Folder: `best` must be a name and 'min' or 'max', got 'loss'"),
    ({"best": ("loss", "auto")}, ValueError, "Folder: `best` must be one of 'min', 'max', got 'auto'"),
    ({"best": ("loss", "min", "test")}, ValueError, "Folder: `best` must be one of 'train', 'validation', got 'test'"),
])
def test_wrong_options_are_told(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        Folder(tmp_path, **options)


def test_which_one_is_a_choice(tmp_path):
    with pytest.raises(ValueError, match="Folder: `which` must be one of .*, got .first."):
        Folder(tmp_path).load("first")
    with pytest.raises(ValueError, match="Folder: `best` must be given, to load the best checkpoint, got None"):
        Folder(tmp_path).load("best")


def test_a_failed_one_is_beside_the_others_and_never_loaded(tmp_path):
    folder = Folder(tmp_path, keep=1)
    save(folder, 1, 2)
    save(folder, 1, 3, failed=True)
    save(folder, 1, 3, failed=True)
    assert folder.load()[:2] == (1, 2)
    assert (tmp_path / "0001-000003-failed" / "model-0001.params").exists()


NETWORK = mx.sym.Group([mx.sym.SoftmaxOutput(mx.sym.var("data"), mx.sym.var("label"), name="softmax"),
                        mx.sym.MakeLoss(mx.sym.var("data").sum(axis=1), name="mine")])
METRICS = [
    mx.metric.Accuracy, mx.metric.F1, mx.metric.PearsonCorrelation, mx.metric.MCC, mx.metric.Loss, mx.metric.MSE,
    lambda: mx.metric.Perplexity(ignore_label=None), lambda: mx.metric.TopKAccuracy(2),
    lambda: mx.metric.np(lambda label, pred: float(pred.sum())),
    lambda: mx.metric.CompositeEvalMetric(["acc", mx.metric.CrossEntropy()]),
    lambda: mxloss.metric.Loss("mine", ["mine_output"]),
    lambda: mxloss.metric.from_symbol(NETWORK),
]


def update(metric, rng):
    label, pred = mx.nd.array(rng.randint(0, 2, 6)), mx.nd.array(rng.dirichlet([1, 1], 6))
    outputs = {"softmax_output": pred, "mine_output": pred[:, 0]}
    if isinstance(metric, (mxloss.metric.Loss, mxloss.metric.Group)):
        metric.update_dict({"label": label}, outputs)
    elif isinstance(metric, (mx.metric.MSE, mx.metric.PearsonCorrelation)):
        metric.update([pred], [label.reshape((-1, 1)).broadcast_to((6, 2))])
    else:
        metric.update([label], [pred])


@pytest.mark.parametrize("make", METRICS)
def test_a_metric_goes_on_from_what_it_had_added_up(make, rng):
    straight, first = make(), make()
    batches = [np.random.RandomState(seed) for seed in (1, 2, 1, 2)]
    for metric, batch in ((straight, batches[0]), (straight, batches[1]), (first, batches[2])):
        update(metric, batch)
    second = make()
    restore_metric(second, metric_state(first))
    update(second, batches[3])
    assert second.get_global_name_value() == straight.get_global_name_value()
    assert second.get_name_value() == straight.get_name_value()


def test_another_metric_is_refused():
    with pytest.raises(ValueError, match="restore_metric: `metric` must be Accuracy 'accuracy', of which the "
                                         "checkpoint is, got "):
        restore_metric(mx.metric.MSE(), metric_state(mx.metric.Accuracy()))
    composite = mx.metric.CompositeEvalMetric(["acc", "mse"])
    with pytest.raises(ValueError, match="restore_metric: `metric` must be "):
        restore_metric(mx.metric.CompositeEvalMetric(["acc"]), metric_state(composite))
