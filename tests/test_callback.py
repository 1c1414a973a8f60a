"""Callbacks that watch `Module.fit`, alone and under `mxloss.fit`: what they show and write is what was optimised."""
import io
import json

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.callback import MetricsFile, ProgressBar, TensorBoard

from .stopping import After
from .train.runs import BATCH, BATCHES, SAMPLES, Seen, fit, module, train_data, validation_data
from .watching import Clock, events


def lines(path, without=()):
    return [{key: value for key, value in json.loads(line).items() if key not in without}
            for line in path.read_text().splitlines()]


def module_fit(made, watcher, epochs=2):
    """MXNet's own call."""
    made.fit(train_data(), validation_data(), mxloss.metric.from_symbol(made.symbol), num_epoch=epochs,
             optimizer_params={"learning_rate": 0.25}, batch_end_callback=watcher, eval_end_callback=watcher.validated)
    watcher.close()


def sizes():
    return [min(BATCH, SAMPLES - BATCH * batch) for batch in range(BATCHES)]


@pytest.mark.parametrize("devices", [1, 2])
def test_the_file_has_every_loss_of_every_epoch(tmp_path, devices):
    path, seen = tmp_path / "metrics.jsonl", Seen()
    fit(module(devices), epochs=2, watch=[MetricsFile(path, every=3, clock=Clock()), seen])
    found = lines(path)
    assert [(line["epoch"], line["batch"], line["step"], line["split"], line["partial"]) for line in found] == [
        (epoch + 1, batch, BATCHES * epoch + batch, split, False) for epoch in range(2)
        for batch, split in ((3, "train"), (BATCHES, "train"), (BATCHES, "validation"))]
    for line in found:
        values = seen.validation[line["epoch"] - 1] if line["split"] == "validation" else \
            seen.train[line["epoch"] - 1, line["batch"] - 1]
        assert {"accuracy", "softmax_loss", "center_loss", "total_loss"} == set(values)
        assert {name: line[name] for name in values} == values
    assert [line["learning_rate"] for line in found if line["split"] == "train"] == pytest.approx(
        [0.3, 0.3 * 0.8, 0.3 * 0.8 ** 2, 0.3 * 0.8 ** 2])  # of the steps 3, 4, 7 and 8, less after each third
    # From the end of an epoch's first batch: two batches in two seconds, then the last one.
    assert [line["samples_per_second"] for line in found[:2]] == [sum(sizes()[1:3]) / 2, sizes()[3] / 2]
    assert "samples_per_second" not in found[2]


def test_a_resumed_run_leaves_the_file_of_one_that_did_not_stop(tmp_path):
    straight, resumed = tmp_path / "straight.jsonl", tmp_path / "resumed.jsonl"
    fit(module(2), watch=[MetricsFile(straight, every=1)])
    fit(module(2), tmp_path / "c", watch=[MetricsFile(resumed, every=1)], stop=After(BATCHES + 2))
    assert [line["partial"] for line in lines(resumed)][-2:] == [True, True]
    fit(module(2), tmp_path / "c", watch=[MetricsFile(resumed, every=1)], resume=True)
    assert lines(straight, ["samples_per_second"]) == lines(resumed, ["samples_per_second"])


def test_another_run_begins_the_file_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for epochs in (2, 1):
        fit(module(), epochs=epochs, watch=[MetricsFile(path)])
    assert [line["epoch"] for line in lines(path)] == [1, 1]


def test_trainings_with_fields_of_their_own_share_a_file(tmp_path):
    path = tmp_path / "metrics.jsonl"

    def run(name, **options):
        fit(module(), tmp_path / name, watch=[MetricsFile(path, fields={"model": name})], resume=True, **options)

    run("one", epochs=2)
    run("two", epochs=1)
    assert [(line["model"], line["epoch"]) for line in lines(path)] == [
        ("one", 1), ("one", 1), ("one", 2), ("one", 2), ("two", 1), ("two", 1)]
    run("one", epochs=3)
    assert [(line["model"], line["epoch"]) for line in lines(path)][-2:] == [("one", 3)] * 2
    assert len(lines(path)) == 8
    fit(module(), epochs=1, watch=[MetricsFile(path, fields={"model": "one"})])
    assert [(line["model"], line["epoch"]) for line in lines(path)] == [("two", 1)] * 2 + [("one", 1)] * 2


def test_under_module_fit_they_are_the_same(tmp_path):
    module_fit(module(), MetricsFile(tmp_path / "metrics.jsonl"))
    assert [(line["epoch"], line["batch"], line["step"], line["split"]) for line in lines(tmp_path / "metrics.jsonl")] \
        == [(epoch, BATCHES, BATCHES * epoch, split) for epoch in (1, 2) for split in ("train", "validation")]
    module_fit(module(), TensorBoard(tmp_path / "board", histograms=3))
    assert [step for step, _ in events(tmp_path / "board")["train/center_loss"]] == [BATCHES, 2 * BATCHES]
    stream = io.StringIO()
    module_fit(module(), ProgressBar("run", stream=stream, every=1000))
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == [
        "run epoch 1/2", "run epoch 1/2 validation", "run epoch 2/2", "run epoch 2/2 validation"]


def test_the_bar_shows_every_loss(tmp_path):
    stream, seen = io.StringIO(), Seen()
    fit(module(2), epochs=2, watch=[ProgressBar("run", stream=stream, clock=Clock(), every=1000), seen])
    found = stream.getvalue().splitlines()
    pace = (SAMPLES - BATCH) / (2 * (BATCHES - 1))
    for epoch in range(2):
        train, validation = found[2 * epoch:2 * epoch + 2]
        values = " ".join("{} {:.4f}".format(*item) for item in seen.train[epoch, BATCHES - 1].items())
        assert train.startswith("run epoch {}/2: [{:.0f} samples/s".format(epoch + 1, pace))
        assert train.endswith("] " + values)
        values = " ".join("{} {:.4f}".format(*item) for item in seen.validation[epoch].items())
        assert validation == "run epoch {}/2 validation: {}".format(epoch + 1, values)


def test_the_bar_of_an_iterator_that_does_not_tell_its_batches():
    stream = io.StringIO()
    data = mx.io.NDArrayIter(np.zeros((8, 5)), np.zeros(8), 4)
    fit(module(dropout=0), data=data, epochs=1, watch=[ProgressBar(stream=stream, batches=2, every=0)])
    assert stream.getvalue().startswith("epoch 1/1 batch 1/2: ")


def test_padding_is_no_sample(tmp_path):
    data = mx.io.NDArrayIter(np.zeros((10, 5)), np.zeros(10), 4)
    fit(module(dropout=0), data=data, epochs=1, watch=[MetricsFile(tmp_path / "m", clock=Clock())])
    assert lines(tmp_path / "m")[0]["samples_per_second"] == (4 + 2) / 2


@pytest.mark.parametrize("exact", [False, True])
def test_tensorboard_has_losses_rate_speed_weights_and_centers(tmp_path, exact):
    made, seen = module(2, exact=exact), Seen()
    options = {"optimizer": "withcenters", "optimizer_params": {"base": "sgd", "learning_rate": 0.25}} if exact else {}
    fit(made, epochs=2, watch=[TensorBoard(tmp_path, every=2, histograms=2 * BATCHES), seen], **options)
    found = events(tmp_path)
    assert [step for step, _ in found["train/center_loss"]] == [2, 4, 6, 8]
    assert found["train/total_loss"][1][1] == pytest.approx(seen.train[0, 3]["total_loss"], rel=1e-6)
    assert [value for _, value in found["validation/accuracy"]] == pytest.approx(
        [seen.validation[epoch]["accuracy"] for epoch in range(2)])
    assert len(found["learning_rate"]) == len(found["samples_per_second"]) == 4
    if exact:
        assert found["learning_rate"][0][1] == 0.25
    args, auxs = made.get_params()
    names = {"weights/" + name for name in [*args, *auxs]}
    assert names <= set(found)
    weight = args["feature_weight"].asnumpy()
    (step, histogram), = found["weights/feature_weight"]
    assert (step, histogram.num) == (2 * BATCHES, weight.size)
    assert histogram.sum == pytest.approx(weight.sum(), rel=1e-5)
    if exact:
        counts = found["weights/center_loss_centers_counts"][0][1]
        assert counts.sum == 2 * SAMPLES  # each sample has moved its center once an epoch
        centers = args["center_loss_centers"].asnumpy()[:, :-1]
        assert found["weights/center_loss_centers"][0][1].sum == pytest.approx(centers.sum(), rel=1e-5)


def test_a_resumed_run_lets_tensorboard_forget_what_comes_again(tmp_path):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    fit(module(), watch=[TensorBoard(straight, every=1)])
    fit(module(), tmp_path / "c", watch=[TensorBoard(resumed, every=1)], stop=After(BATCHES + 2))
    fit(module(), tmp_path / "c", watch=[TensorBoard(resumed, every=1)], resume=True)
    steps = [step for step, _ in events(resumed)["train/accuracy"]]
    assert sorted(set(steps)) == [step for step, _ in events(straight)["train/accuracy"]]
    from tensorboardX.proto import event_pb2
    purges = []
    for path in sorted(resumed.glob("events*")):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = event_pb2.Event.FromString(content[12:12 + size])
            if event.session_log.status == event_pb2.SessionLog.START:
                purges.append(event.step)
            content = content[16 + size:]
    assert purges == [BATCHES + 2 + 1]


@pytest.mark.parametrize(("make", "words"), [
    (lambda: MetricsFile("m", every=0), "MetricsFile: `every` must be a whole number >= 1, got 0"),
    (lambda: TensorBoard("t", every=0), "TensorBoard: `every` must be a whole number >= 1, got 0"),
    (lambda: TensorBoard("t", histograms=0), "TensorBoard: `histograms` must be a whole number >= 1, got 0"),
    (lambda: ProgressBar(batches=0), "ProgressBar: `batches` must be a whole number >= 1, got 0"),
])
def test_wrong_arguments_are_told(make, words):
    with pytest.raises(ValueError, match=words):
        make()
