"""The command, in this process: what it writes, and how it refuses."""
import json
import os
import re

import matplotlib.image
import mxnet as mx
import pytest

from examples.mnist_center_loss import cli, data, training

from .conftest import fill

SMALL = ["--network", "mlp", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A folder to work in, with no MNIST but what a test puts there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(data.VARIABLE, raising=False)


@pytest.fixture
def small(tmp_path, miniature):
    """Arguments for a run on the miniature."""
    return ["--data", "mnist", "--data-dir", str(fill(tmp_path / "given", miniature))] + SMALL


def tree():
    return sorted(os.path.join(folder, name) for folder, folders, files in os.walk(".") for name in folders + files)


def refused(capsys, arguments):
    """The one line that a refusal prints."""
    before = tree()
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert tree() == before, "a refusal leaves nothing behind"
    return captured.err


def test_a_run_writes_the_table_the_record_the_picture_and_two_checkpoints(small, capsys, tmp_path):
    assert cli.main(small + ["--epochs", "2", "--devices", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "data set: MNIST from {}, 30 training and 20 test images".format(
        tmp_path / "given")
    folder = os.path.join("runs", "mnist_center_loss")
    assert sorted(os.listdir(folder)) == sorted([
        "checkpoints", "settings.json", "metrics.jsonl", "losses.png", "summary.json", "embedding.png",
        "softmax-symbol.json", "softmax-0002.params", "center_loss-symbol.json", "center_loss-0002.params"])

    with open(os.path.join(folder, "metrics.jsonl")) as lines:
        rows = [json.loads(line) for line in lines]
    assert [(row["model"], row["epoch"], row["split"]) for row in rows] == [
        (model, epoch, split) for model in ("softmax", "center_loss") for epoch in (1, 2)
        for split in ("train", "validation")]
    names = {"epoch", "batch", "step", "partial", "model", "split", "accuracy", "softmax_loss"}
    for row in rows:
        assert set(row) == names | ({"center_loss", "total_loss"} if row["model"] == "center_loss" else set()) | (
            {"samples_per_second", "learning_rate"} if row["split"] == "train" else set())

    with open(os.path.join(folder, "summary.json")) as file:
        summary = json.load(file)
    assert (summary["data_set"], summary["train_size"], summary["devices"]) == ("MNIST", 30, ["cpu(0)", "cpu(1)"])
    for model in ("softmax", "center_loss"):
        numbers = summary["models"][model]
        assert numbers["test_accuracy"] == pytest.approx(
            [row["accuracy"] for row in rows if row["model"] == model and row["split"] == "validation"][-1])
        assert numbers["distance_ratio"] == pytest.approx(
            numbers["own_center_distance"] / numbers["between_center_distance"])
        assert "{:.4f}".format(numbers["distance_ratio"]) in captured.out
        mx.model.load_checkpoint(os.path.join(folder, model), 2)
    for picture in ("embedding.png", "losses.png"):
        assert matplotlib.image.imread(os.path.join(folder, picture)).ndim == 3


def test_options_reach_what_they_are_for(small, capsys):
    options = {"lr": 0.01, "wd": 0.002, "alpha": 0.25, "weight": 0.03, "seed": 5}
    arguments = [part for name, value in options.items() for part in ("--" + name, str(value))]
    assert cli.main(small + arguments + ["--epochs", "1", "--train-size", "20", "--test-size", "9", "--out", "o"]) == 0
    with open("o/summary.json") as file:
        summary = json.load(file)
    assert {name: summary[name] for name in options} == options
    assert (summary["train_size"], summary["test_size"], summary["network"]) == (20, 9, "mlp")
    operator = mx.sym.load("o/center_loss-symbol.json").attr_dict()["center_loss_"]
    assert (float(operator["alpha"]), float(operator["scale"])) == (0.25, 0.03)
    assert "epochs 1, batch size 8, lr 0.01, wd 0.002, alpha 0.25, weight 0.03, seed 5" in capsys.readouterr().out


def test_a_batch_may_be_greater_than_the_data(small):
    assert cli.main(small + ["--batch-size", "500", "--epochs", "1", "--out", "o"]) == 0


def test_a_second_run_replaces_every_file_of_the_first(small):
    assert cli.main(small + ["--epochs", "2", "--out", "o"]) == 0
    with open("o/mine.txt", "w") as file:
        file.write("not the example's")
    assert cli.main(small + ["--epochs", "1", "--out", "o"]) == 0
    assert sorted(os.listdir("o")) == sorted([
        "mine.txt", "checkpoints", "settings.json", "metrics.jsonl", "losses.png", "summary.json", "embedding.png",
        "softmax-symbol.json", "softmax-0001.params", "center_loss-symbol.json", "center_loss-0001.params"])


@pytest.mark.parametrize("api", ["module", "gluon"])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(small, capsys, api):
    arguments = small + ["--epochs", "3", "--devices", "2", "--api", api]
    assert cli.main(arguments + ["--out", "straight"]) == 0
    assert cli.main(arguments + ["--out", "cut", "--interrupt-at", "2"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; the same command with --resume goes on\n")
    assert cli.main(arguments + ["--out", "cut", "--resume", "--target-loss", "softmax_loss=0"]) == 0
    assert cli.main(arguments + ["--out", "cut", "--resume"]) == 0  # all is done
    results = []
    for folder in ("straight", "cut"):
        with open(folder + "/metrics.jsonl") as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            row.pop("samples_per_second", None)
        with open(folder + "/summary.json") as file:
            results.append((rows, json.load(file)["models"]))
    assert results[0] == results[1]


def test_what_is_resumed_has_to_be_the_same_run(small, capsys):
    assert cli.main(small + ["--epochs", "1", "--out", "o"]) == 0
    capsys.readouterr()
    assert cli.main(small + ["--epochs", "1", "--out", "o", "--resume", "--wd", "0"]) == 2
    assert capsys.readouterr().err == (
        "python -m examples.mnist_center_loss: --resume goes on with the run in o, whose wd is 0.0005, got 0.0\n")


def test_tensorboard_gets_both_models(small):
    assert cli.main(small + ["--epochs", "1", "--out", "o", "--tensorboard", "t"]) == 0
    assert sorted(os.listdir("t")) == ["center_loss", "softmax"]
    assert all(os.listdir(os.path.join("t", name)) for name in os.listdir("t"))


def test_a_target_is_told(small, capsys):
    assert cli.main(small + ["--epochs", "3", "--out", "o", "--target-loss", "center_loss=1000000"]) == 0
    assert "\ncenter_loss: center_loss reached " in capsys.readouterr().out
    assert os.path.exists("o/softmax-0003.params")
    assert os.path.exists("o/center_loss-0001.params")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--epochs", "0"], "argument --epochs: must be a whole number >= 1, got 0"),
    (["--epochs", "two"], "argument --epochs: must be a whole number >= 1, got two"),
    (["--batch-size", "-3"], "argument --batch-size: must be a whole number >= 1, got -3"),
    (["--lr", "0"], "argument --lr: must be a finite number > 0, got 0"),
    (["--lr", "nan"], "argument --lr: must be a finite number > 0, got nan"),
    (["--lr", "inf"], "argument --lr: must be a finite number > 0, got inf"),
    (["--wd", "-1"], "argument --wd: must be a finite number >= 0, got -1"),
    (["--weight", "-0.1"], "argument --weight: must be a finite number >= 0, got -0.1"),
    (["--alpha", "1.5"], r"argument --alpha: must be a number in \[0, 1\], got 1.5"),
    (["--seed", "-1"], r"argument --seed: must be a whole number in \[0, 2147483647\], got -1"),
    (["--train-size", "-1"], "argument --train-size: must be a whole number >= 0, got -1"),
    (["--network", "alexnet"], "argument --network: .*'alexnet'.*lenet.*mlp"),
    (["--data", "cifar"], "argument --data: .*'cifar'.*auto.*mnist.*digits"),
    (["--devices", "0"], "argument --devices: must be a whole number >= 1, got 0"),
    (["--gpus", "0,x"], "argument --gpus: must be different numbers with commas between them, got 0,x"),
    (["--gpus", "1,1"], "argument --gpus: must be different numbers with commas between them, got 1,1"),
    (["--gpus", "77"], r"argument --gpus: must be among the \d+ GPUs that MXNet sees, got 77"),
    (["--devices", "2", "--gpus", "77"], "--gpus"),
    (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
    (["--lr"], "argument --lr: expected one argument"),
    (["--target-loss", "loss=1"], "argument --target-loss: must be NAME=X, NAME one of softmax_loss, center_loss, "),
    (["--target-loss", "center_loss"], "argument --target-loss: must be a finite number >= 0, got"),
    (["--interrupt-at", "0"], "argument --interrupt-at: must be a whole number >= 1, got 0"),
    (["--lr-steps", "3,2"], "argument --lr-steps: must be epochs from 1 in rising order with commas between them, got"),
    (["--hybridize"], "--hybridize is for --api gluon"),
    (["--tensorboard", ""], "--tensorboard must name a folder, got nothing"),
    (["--out", ""], "--out must name a folder, got nothing"),
    (["--data-dir", ""], "--data-dir must name a folder, got nothing"),
])
def test_a_bad_argument_is_refused_in_one_line(capsys, arguments, words):
    assert re.search("^python -m examples.mnist_center_loss: .*" + words, refused(capsys, arguments))


@pytest.mark.parametrize(("arguments", "words"), [
    (["--data", "digits", "--data-dir", "."], "--data-dir names a folder with MNIST: use it with --data mnist"),
    (["--data", "digits", "--devices", "4", "--batch-size", "3"], "4 devices cannot share 1437 images in batches of 3"),
    (["--data", "digits", "--devices", "3", "--test-size", "2"], "3 devices cannot share 2 images"),
    (["--data", "digits", "--train-size", "2000"], "--train-size must be at most 1437"),
    (["--data", "digits", "--train-size", "7"], "--train-size must be at least"),
    (["--data", "mnist", "--data-dir", "nowhere"], "--data-dir must name a folder with MNIST's four files"),
    (["--data", "digits", "--out", "/proc/mxloss"], "--out must be a folder that can be written to"),
])
def test_what_the_data_or_the_system_do_not_allow_is_refused_before_training(capsys, monkeypatch, arguments, words):
    monkeypatch.setattr(training, "train", lambda *arguments: pytest.fail("it must not train"))
    assert words in refused(capsys, arguments)


def test_an_earlier_run_survives_a_refusal(small, capsys):
    assert cli.main(small + ["--epochs", "1", "--out", "o"]) == 0
    capsys.readouterr()
    refused(capsys, small + ["--out", "o", "--devices", "50"])


def test_a_disk_that_fills_up_ends_the_run_in_one_line(small, capsys, monkeypatch):
    replace = os.replace

    def full(source, target):
        if str(target).endswith("embedding.png"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert cli.main(small + ["--epochs", "1", "--out", "o"]) == 2
    captured = capsys.readouterr()
    assert re.search("^python -m examples.mnist_center_loss: cannot write .*embedding.png: No space left on device; "
                     "make room or choose another folder$", captured.err)
    assert sorted(os.listdir("o")) == sorted([
        "checkpoints", "settings.json", "metrics.jsonl", "losses.png", "softmax-symbol.json", "softmax-0001.params",
        "center_loss-symbol.json", "center_loss-0001.params"])


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in ("data", "data-dir", "train-size", "test-size", "network", "devices", "gpus", "epochs", "batch-size",
                   "lr", "lr-steps", "wd", "alpha", "weight", "seed", "api", "center", "kvstore", "hybridize",
                   "target-loss", "resume", "interrupt-at", "tensorboard", "out"):
        assert "--" + option in text
