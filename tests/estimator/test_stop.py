"""Stopping an Estimator is clean: validation, handlers and checkpoint still run; the caller is told where and why."""
import os
import signal

import mxnet as mx
import pytest
from mxnet import gluon
from mxnet.gluon.contrib import estimator as stock

import mxloss
from mxloss.checkpoint import Folder
from mxloss.estimator import Estimator
from mxloss.stop import NotFinite, Plateau, Target

from .network import contexts, estimator, loader


class Calls(stock.TrainEnd, stock.BatchEnd, stock.EpochEnd):
    def __init__(self, at_batch=None):
        self.at_batch, self.seen = at_batch, []

    def batch_end(self, estimator, *args, **kwargs):
        self.seen.append("batch")
        if self.at_batch and len(self.seen) == 3:
            self.at_batch()

    def epoch_end(self, estimator, *args, **kwargs):
        self.seen.append("epoch")

    def train_end(self, estimator, *args, **kwargs):
        self.seen.append("train")


def falling(devices=1, start=8.0):
    """An Estimator whose loss 'size' is halved by each step: 8, 4, 2, 1, ..."""
    net = gluon.nn.HybridSequential()
    parameter = gluon.Parameter("p", shape=(1, 1), init=mx.init.Constant(start))
    parameter.initialize(ctx=contexts(devices))

    class Value(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.p = parameter
            self.params.update({"p": parameter})

        def hybrid_forward(self, F, x, p):
            return F.broadcast_mul(F.ones_like(x.slice_axis(axis=1, begin=0, end=1)), p)

    net = Value()
    losses = mxloss.LossGroup({"size": gluon.nn.HybridLambda(lambda F, x: x.reshape((-1,)).abs())},
                              labels={"size": None})

    class Halve(stock.BatchEnd):
        def batch_end(self, estimator, *args, **kwargs):
            parameter.set_data(parameter.data() / 2)

    made = Estimator(net, losses, trainer=gluon.Trainer([parameter], "sgd", {"learning_rate": 0.0}))
    made.logger.handlers.clear()
    return made, Halve()


@pytest.mark.parametrize(("target", "place"), [
    (Target("size", 2.5, direction="min", every="batch"), (0, 2, 2.0)),
    (Target("size", 2.5, direction="min", every="batch", patience=2), (0, 3, 1.0)),
    (Target("size", 2.5, direction="min", every=2), (0, 3, 1.5)),
    (Target("size", 2.5, direction="min"), (1, 3, (0.5 + 0.25 + 0.125 + 0.0625) / 4)),
    (Target("size", 2.5, direction="min", data="validation"), (0, 3, 0.5)),
    (Plateau("size", direction="min", patience=1, min_delta=3, every="batch"), (0, 2, 2.0)),
])
def test_it_stops_where_a_named_loss_says_so(target, place):
    made, halve = falling()
    calls = Calls()
    outcome = made.fit(loader(8, 2), loader(2, 2), epochs=5, event_handlers=[halve, calls], stop=target)
    assert (outcome.epoch, outcome.batch, outcome.value) == place
    assert outcome.name == "size"
    assert outcome.reason == target.reason
    assert calls.seen[-2:] == ["epoch", "train"]
    assert calls.seen.count("batch") == 4 * outcome.epoch + outcome.batch + 1
    assert made.run.validated


@pytest.mark.parametrize("every", ["batch", "epoch"])
def test_what_has_reached_its_target_is_not_trained_on_until_the_target_is_another(tmp_path, every):
    def resumed(value):
        made, halve = falling()
        outcome = made.fit(loader(8, 2), epochs=5, event_handlers=[halve], checkpoint=tmp_path, resume=True,
                           stop=Target("size", value, direction="min", every=every))
        return outcome, made.net.p.data().asscalar()

    first = resumed(0.6)
    assert resumed(0.6) == first
    assert first[0].reason == "target"
    assert resumed(0.3)[1] < first[1]


def test_without_a_reason_it_goes_to_the_end():
    assert estimator().fit(loader(8, 4), epochs=2)[:3] == ("end", 1, 1)
    assert estimator().fit(loader(8, 4), batches=3, stop=NotFinite())[:3] == ("end", 1, 0)


def test_a_handler_that_ends_an_epoch_and_not_the_training_has_the_next_one_whole():
    class Cut(stock.BatchEnd):
        def batch_end(self, estimator, *args, **kwargs):
            return estimator.run.last == (0, 1)

    calls = Calls()
    assert estimator().fit(loader(12, 3), epochs=2, event_handlers=[calls, Cut()])[:3] == ("end", 1, 3)
    assert calls.seen == ["batch"] * 2 + ["epoch"] + ["batch"] * 4 + ["epoch", "train"]


def test_a_loss_that_is_not_finite_stops_it_and_replaces_no_checkpoint(tmp_path):
    made, halve = falling(2)
    poison = Calls(lambda: made.net.p.set_data(mx.nd.array([[float("nan")]])))
    folder = Folder(tmp_path)
    with pytest.warns(UserWarning, match="training size: batch 3 is nan"):
        outcome = made.fit(loader(16, 2), epochs=2, event_handlers=[halve, poison], stop=NotFinite(), checkpoint=folder)
    assert outcome[:4] == ("not_finite", 0, 3, "size")
    assert folder.list() == []
    assert (tmp_path / "0000-000004-failed").is_dir()


def test_weights_that_are_not_finite_stop_it_when_they_are_to_be_kept(tmp_path):
    made, halve = falling(2)
    poison = Calls(lambda: made.net.p.set_data(mx.nd.array([[float("nan")]])))
    folder = Folder(tmp_path, every=1)
    outcome = made.fit(loader(16, 2), epochs=2, event_handlers=[halve, poison], stop=NotFinite(), checkpoint=folder)
    assert outcome[:3] == ("not_finite", 0, 2)
    assert folder.list() == [(0, 1), (0, 2)]
    assert (tmp_path / "0000-000003-failed").is_dir()


def test_without_the_criterion_a_loss_that_is_not_finite_is_an_error():
    made, _ = falling(1, float("inf"))
    with pytest.raises(ValueError, match="training size: `batch 0` must be finite, got inf"):
        made.fit(loader(4, 2), epochs=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_batch_with_a_checkpoint(tmp_path, number):
    made, before = estimator(), signal.getsignal(number)
    calls = Calls(lambda: os.kill(os.getpid(), number))
    outcome = made.fit(loader(20, 2), epochs=2, event_handlers=calls, checkpoint=tmp_path, stop_on_signal=True)
    assert outcome[:3] in [("signal", 0, 2), ("signal", 0, 3)]
    assert outcome.exit_code == 128 + number
    assert calls.seen[-2:] == ["epoch", "train"]
    assert Folder(tmp_path).list() == [(0, outcome.batch + 1)]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"stop": Target("nothing", 1, direction="min")}, ValueError,
     r"fit: `stop` must be among 'softmax', 'distance', 'total_loss', got 'nothing'"),
    ({"stop": Target("softmax", 1, direction="min", data="validation")}, ValueError,
     r"fit: `stop` must be of train data, where there is no validation data"),
    ({"stop_on_signal": 1}, TypeError, r"fit: `stop_on_signal` must be True or False, got 1"),
    ({"event_handlers": [print]}, TypeError, r"fit: `event_handlers` must be handlers of an Estimator, got <built-in"),
    ({"event_handlers": [stock.GradientUpdateHandler()]}, TypeError,
     r"fit: `event_handlers` must be with the GradientUpdateHandler of mxloss"),
])
def test_bad_arguments_are_named_before_anything_is_trained(options, error, words):
    with pytest.raises(error, match=words):
        estimator().fit(loader(4, 2), epochs=1, **options)
