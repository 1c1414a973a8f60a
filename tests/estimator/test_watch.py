"""What the Estimator's handlers show and write, read back."""
import io
import json

import numpy as np
import pytest
from mxnet.gluon.contrib import estimator as stock

from mxloss.estimator import GradientUpdateHandler, MetricsFile, ProgressBar, TensorBoard

from ..stopping import After
from ..watching import Clock, events
from .network import estimator, loader


def values(metrics):
    return {metric.name.split(" ")[1]: metric.get_global()[1] for metric in metrics}


def test_the_file_has_each_loss_of_each_epoch(tmp_path):
    made = estimator(2)
    made.fit(loader(21, 8), loader(5, 2), epochs=2,
             event_handlers=[MetricsFile(tmp_path / "metrics.jsonl", clock=Clock(), every=2)])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    place = [(line["epoch"], line["batch"], line["step"], line["split"], line["partial"]) for line in lines]
    assert place == [(1, 2, 2, "train", False), (1, 3, 3, "train", False), (1, 3, 3, "validation", False),
                     (2, 2, 5, "train", False), (2, 3, 6, "train", False), (2, 3, 6, "validation", False)]
    assert [line.get("samples_per_second") for line in lines[:3]] == [16 / 2, 5 / 2, None]
    assert lines[0]["learning_rate"] == 0.1
    for line, metrics in ((lines[4], made.train_metrics), (lines[5], made.val_metrics)):
        assert {name: line[name] for name in ("softmax", "distance", "total_loss")} == pytest.approx(values(metrics))


def test_a_resumed_run_leaves_the_file_of_one_that_did_not_stop(tmp_path):
    def lines(path):
        return [{key: value for key, value in json.loads(line).items() if key != "samples_per_second"}
                for line in path.read_text().splitlines()]

    def fit(path, **options):
        estimator().fit(loader(21, 8), loader(5, 2), epochs=2, seed=1, event_handlers=[MetricsFile(path, every=1)],
                        **options)

    fit(tmp_path / "straight.jsonl")
    fit(tmp_path / "resumed.jsonl", checkpoint=tmp_path / "c", stop=After(5))
    assert lines(tmp_path / "resumed.jsonl")[-1]["partial"]
    fit(tmp_path / "resumed.jsonl", checkpoint=tmp_path / "c", resume=True)
    assert lines(tmp_path / "resumed.jsonl") == lines(tmp_path / "straight.jsonl")


def test_tensorboard_gets_losses_weights_and_whole_gradients(tmp_path):
    made = estimator(2)
    seen = {}

    class Look(stock.TrainBegin):
        def train_begin(self, estimator, *args, **kwargs):
            estimator.before_step.append(self.look)

        def look(self, estimator, size):
            gradients = [gradient.asnumpy() for gradient in estimator.net.classes.bias.list_grad()]
            seen[estimator.run.step] = (sum(gradients) / size).sum()

    made.fit(loader(21, 4), loader(5, 2), epochs=2,
             event_handlers=[TensorBoard(tmp_path, histograms=2), GradientUpdateHandler(batches=2), Look()])
    found = events(tmp_path)
    assert [step for step, _ in found["train/softmax"]] == [6, 12]
    assert found["validation/total_loss"][-1][1] == pytest.approx(values(made.val_metrics)["total_loss"], rel=1e-6)
    assert found["learning_rate"][-1][1] == pytest.approx(0.1)
    assert all(value > 0 for _, value in found["samples_per_second"])
    histograms = found["gradients/net_dense1_bias"]
    assert [step for step, _ in histograms] == [4, 8, 12]  # each second step of two batches
    for step, histogram in histograms:
        assert histogram.sum == pytest.approx(seen[step], abs=1e-6)
    assert "weights/distance_point" in found
    assert np.isfinite([histogram.sum for _, histogram in found["weights/net_dense0_weight"]]).all()


@pytest.mark.parametrize("known", [True, False])
def test_the_bar_shows_every_loss_in_plain_lines(known):
    import mxnet as mx

    from .network import samples
    data = loader(21, 8) if known else mx.io.NDArrayIter(*samples(21), 8)
    stream = io.StringIO()
    made = estimator()
    made.fit(data, loader(5, 2), epochs=2,
             event_handlers=[ProgressBar("run", stream=stream, clock=Clock(), every=1000)])
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["run epoch 1/2", "run epoch 1/2 validation", "run epoch 2/2",
                                                      "run epoch 2/2 validation"]
    for line, metrics in ((lines[2], made.train_metrics), (lines[3], made.val_metrics)):
        assert line.endswith(" ".join("{} {:.4f}".format(*item) for item in values(metrics).items()))


@pytest.mark.parametrize("handler", [MetricsFile, TensorBoard])
def test_bad_arguments_are_named(tmp_path, handler):
    with pytest.raises(ValueError, match=handler.__name__ + ": `every` must be a whole number >= 1, got 0"):
        handler(tmp_path, every=0)
