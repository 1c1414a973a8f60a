"""What is shown: a bar in a terminal, lines elsewhere."""
import io
import re

import pytest

from examples.mnist_center_loss import progress
from examples.mnist_center_loss.progress import DownloadBar, EpochBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Metric:
    """Counts how often it is read, because a reading waits for the devices."""

    read = 0

    def get_global_name_value(self):
        self.read += 1
        return [("accuracy", 0.5), ("softmax_loss", 0.25), ("center_loss", 0.125)]


class Param:
    def __init__(self, epoch, nbatch, metric):
        self.epoch, self.nbatch, self.eval_metric = epoch, nbatch, metric


def run(bar, clock, metric, epochs, batches, step):
    for epoch in range(epochs):
        for nbatch in range(batches):
            clock.now += step
            bar(Param(epoch, nbatch, metric))


def test_a_terminal_shows_a_bar_per_epoch_with_each_loss(capsys):
    stream, clock, metric = Terminal(), Clock(), Metric()
    run(EpochBar("softmax", 2, 50, stream=stream, clock=clock), clock, metric, 2, 50, 0.02)
    bars = re.split("[\r\n]+", stream.getvalue())
    for epoch in (1, 2):
        full = [bar for bar in bars if bar.startswith("100% softmax {}/2: ".format(epoch))]
        assert full
        assert "50/50" in full[-1]
        assert "softmax_loss 0.2500 center_loss 0.1250 accuracy 0.5000" in full[-1]
    assert capsys.readouterr().out == ""


def test_a_narrow_terminal_still_shows_each_loss(monkeypatch):
    monkeypatch.setattr(progress, "screen", lambda stream: {"ncols": 80, "nrows": 20})
    stream, clock, metric = Terminal(), Clock(), Metric()
    run(EpochBar("center_loss", 2, 50, stream=stream, clock=clock), clock, metric, 1, 50, 0.02)
    last = re.split("[\r\n]+", stream.getvalue().rstrip())[-1]
    assert last.startswith("100% center_loss 1/2: softmax_loss 0.2500 center_loss 0.1250 accuracy 0.5000")
    assert len(last) <= 80


def test_a_bar_reads_the_losses_twice_a_second_and_at_the_end_of_an_epoch():
    clock, metric = Clock(), Metric()
    run(EpochBar("softmax", 1, 1000, stream=Terminal(), clock=clock), clock, metric, 1, 1000, 1 / 256)
    assert metric.read == 1000 // 128 + 1


def test_no_terminal_shows_no_bar_and_a_line_every_half_minute(capsys):
    stream, clock, metric = io.StringIO(), Clock(), Metric()
    run(EpochBar("softmax", 2, 70, stream=stream, clock=clock), clock, metric, 1, 70, 1)
    assert stream.getvalue() == ""
    assert capsys.readouterr().out.splitlines() == [
        "softmax epoch 1/2 batch 31/70: accuracy 0.5000 softmax_loss 0.2500 center_loss 0.1250",
        "softmax epoch 1/2 batch 61/70: accuracy 0.5000 softmax_loss 0.2500 center_loss 0.1250"]
    assert metric.read == 2


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_bar_may_be_closed_at_any_time(stream):
    bar = EpochBar("softmax", 1, 10, stream=stream)
    bar.close()
    bar(Param(0, 0, Metric()))
    bar.close()
    bar.close()


def test_a_download_has_a_bar_in_a_terminal_alone():
    for stream in (Terminal(), io.StringIO()):
        bar = DownloadBar(stream)
        bar("train-images", 10, 100)
        bar("train-images", 100, 100)
        bar("train-labels", 5, 0)
        bar.close()
        assert ("download train-images" in stream.getvalue()) == stream.isatty()
        assert ("download train-labels" in stream.getvalue()) == stream.isatty()
