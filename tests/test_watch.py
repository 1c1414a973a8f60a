"""What is shown and written of a training, to the letter, by a clock that the test sets."""
import io
import json
import sys

import mxnet as mx
import numpy as np
import pytest

from mxloss.watch import Board, Progress, Records, Speed, learning_rate

from .watching import events


class At:
    """A clock that stands where it was put."""

    now = 0.0

    def __call__(self):
        return self.now


def shown(batches, epochs=2, epoch_batches=4, seconds=2.0, size=10, **options):
    """Lines of a training whose batches take so many seconds; `batches`: (epoch, batch) of each."""
    clock, stream = At(), io.StringIO()
    progress = Progress("run", stream=stream, clock=clock, **options)
    for epoch, batch in batches:
        clock.now += seconds
        progress.batch(epoch, epochs, batch, epoch_batches, size, lambda: {"accuracy": 0.5, "loss": 1.25},
                       last=batch == 3)
    return stream.getvalue().splitlines()


def test_lines_tell_speed_and_time_left():
    """From the end of an epoch's first batch: 10 samples in 2 seconds; then 3 batches are left, and 4 more."""
    assert shown([(0, 0), (0, 1), (0, 2), (0, 3)], every=0) == [
        "run epoch 1/2 batch 1/4: [? samples/s] accuracy 0.5000 loss 1.2500",
        "run epoch 1/2 batch 2/4: [5 samples/s, 0:04 left, 0:12 left of the run] accuracy 0.5000 loss 1.2500",
        "run epoch 1/2 batch 3/4: [5 samples/s, 0:02 left, 0:10 left of the run] accuracy 0.5000 loss 1.2500",
        "run epoch 1/2: [5 samples/s, 0:08 left of the run] accuracy 0.5000 loss 1.2500"]


def test_lines_come_no_more_often_than_wanted():
    lines = shown([(epoch, batch) for epoch in range(2) for batch in range(4)], every=4)
    assert [line.split(":")[0] for line in lines] == ["run epoch 1/2 batch 3/4", "run epoch 1/2",
                                                      "run epoch 2/2 batch 3/4", "run epoch 2/2"]


def test_a_resumed_epoch_counts_only_what_this_process_trained():
    assert shown([(1, 2), (1, 3)], every=0) == [
        "run epoch 2/2 batch 3/4: [? samples/s] accuracy 0.5000 loss 1.2500",
        "run epoch 2/2: [5 samples/s, 0:00 left of the run] accuracy 0.5000 loss 1.2500"]


def test_what_nobody_knows_is_left_out_until_an_epoch_has_shown_it():
    clock, stream = At(), io.StringIO()
    progress = Progress(stream=stream, clock=clock, every=0)
    for epoch in range(2):
        for batch in range(2):
            clock.now += 1
            progress.batch(epoch, None, batch, None, 3, lambda: {}, last=batch == 1)
    assert [line.rstrip() for line in stream.getvalue().splitlines()] == [
        "epoch 1 batch 1: [? samples/s]", "epoch 1: [3 samples/s]",
        "epoch 2 batch 1/2: [? samples/s]", "epoch 2: [3 samples/s]"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_a_bar():
    clock, stream = At(), Terminal()
    progress = Progress("run", stream=stream, clock=clock, refresh=3, width=120)
    reads = []

    def values():
        reads.append(clock.now)
        return {"center_loss": 0.25}

    for batch in range(4):
        clock.now += 2
        progress.batch(0, 1, batch, 4, 10, values, last=batch == 3)
    progress.validated(0, 1, {"center_loss": 0.5})
    last = stream.getvalue().split("\r")[-1].splitlines()
    assert last[0].startswith("run epoch 1/1 4/4, center_loss 0.2500 [5 samples/s, 0:00 left of the run] |###")
    assert max(map(len, stream.getvalue().replace("\n", "\r").split("\r"))) <= 120
    assert last[1] == "run epoch 1/1 validation: center_loss 0.5000"
    assert reads == [6, 8]  # each reading waits for the devices


def test_a_narrow_terminal_shows_every_loss():
    clock, stream = At(), Terminal()
    progress = Progress("run", stream=stream, clock=clock, refresh=0, width=42)
    clock.now = 1
    progress.batch(0, 1, 0, 4, 10, lambda: {"center_loss": 0.25}, last=True)
    assert "run epoch 1/1 1/4, center_loss 0.2500" in stream.getvalue()


def test_the_values_are_read_only_where_they_are_shown():
    clock, stream = At(), io.StringIO()
    progress = Progress(stream=stream, clock=clock, every=1000)
    for batch in range(3):
        clock.now += 1
        progress.batch(0, 1, batch, 4, 1, lambda: pytest.fail("read"))


@pytest.mark.parametrize(("option", "stream"), [("every", io.StringIO()), ("refresh", Terminal())])
def test_wrong_pauses_are_told(option, stream):
    with pytest.raises(ValueError, match="ProgressBar: `{}` must be .*>= 0, got -1".format(option)):
        Progress(stream=stream, **{option: -1})


def test_speed_is_between_two_readings():
    clock = At()
    speed = Speed(clock)
    speed.add(3)
    speed.add(5)
    clock.now = 2
    assert speed.read() == 4
    assert speed.read() is None
    speed.add(7)
    clock.now = 10
    speed.restart()
    clock.now = 11
    assert speed.read() == 0


def test_asking_for_the_learning_rate_leaves_the_schedule_where_it_is():
    scheduler = mx.lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=1)
    optimizer = mx.optimizer.SGD(learning_rate=1, lr_scheduler=scheduler)
    assert [learning_rate(optimizer, step) for step in (9, 1, 3, 1)] == [0.0625, 1, 0.5, 1]
    assert learning_rate(mx.optimizer.SGD(learning_rate=0.25), 7) == 0.25


# --- metrics.jsonl ----------------------------------------------------------------------------------------------------

def record(epoch, batch, partial=False, **values):
    return dict({"epoch": epoch, "batch": batch, "step": 4 * epoch + batch - 4, "split": "train", "partial": partial},
                **values)


def test_each_record_is_a_line_at_once(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    records = Records(path)
    assert records.read() == []
    records.write(record(0, 3, loss=0.5))
    records.write(record(1, 3, loss=float("nan"), other=float("-inf")))
    lines = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in path.read_text().splitlines()]
    assert lines == records.read() == [record(0, 3, loss=0.5), record(1, 3, loss=None, other=None)]


def test_half_a_last_line_of_a_killed_process_is_no_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = Records(path)
    records.write(record(1, 3, loss=0.5))
    with open(str(path), "a") as file:
        file.write('{"epoch": 1, "ba')
    assert records.read() == [record(1, 3, loss=0.5)]
    records.rewind(1, 0)
    records.write(record(2, 3))
    assert records.read() == [record(1, 3, loss=0.5), record(2, 3)]


def test_another_line_that_is_no_record_is_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 0}\nloss 0.5\n{}\n')
    with pytest.raises(ValueError, match="Records: `path` must be a file of one JSON object a line, got .* in line 2"):
        Records(path).read()


def test_what_will_be_written_again_is_dropped(tmp_path):
    records = Records(tmp_path / "metrics.jsonl")
    for entry in (record(1, 2), record(1, 4), record(2, 2), record(2, 3, partial=True), record(2, 4), record(3, 1)):
        records.write(entry)
    records.rewind(1, 3)  # one whole epoch and three batches are what there is
    assert records.read() == [record(1, 2), record(1, 4), record(2, 2)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


# --- TensorBoard ------------------------------------------------------------------------------------------------------

def test_a_board_has_numbers_and_distributions(tmp_path):
    board = Board(tmp_path)
    board.scalars(3, {"train/loss": 0.5, "speed": None})
    board.histograms(4, {"weights/w": mx.nd.array([1, 2, 3]), "gradients/w": np.array([1, float("nan"), 5]),
                         "weights/gone": mx.nd.array([float("inf")])})
    board.close()
    found = events(tmp_path)
    assert found["train/loss"] == [(3, 0.5)]
    assert sorted(found) == ["gradients/w", "train/loss", "weights/w"]
    (step, histogram), = found["weights/w"]
    assert (step, histogram.num, histogram.min, histogram.max, histogram.sum) == (4, 3, 1, 3, 6)
    assert found["gradients/w"][0][1].num == 2  # of what is finite


def test_without_tensorboardx_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"TensorBoard.*tensorboardX.*pip install .*mxloss\[watch\]"):
        Board(tmp_path)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"ProgressBar.*tqdm.*mxloss\[watch\]"):
        Progress(stream=Terminal())
    Progress(stream=io.StringIO())  # plain lines need nothing
