"""`fit` ends cleanly where it is told to, says where and why, and is `Module.fit` in everything else."""
import logging

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.checkpoint import Folder
from mxloss.stop import NotFinite, Plateau, Target

from ..stopping import After
from .runs import BATCHES, Seen, fit, module, numbers, train_data, validation_data

HALVES = 4  # batches of an epoch of `falling`


def falling(devices=1, start=8.0):
    """A module whose loss 'size' is 8, 4, 2, 1, ... : each step takes half of its one weight."""
    weight = mx.sym.var("p", shape=(1, 1), init=mx.init.Constant(start))
    size = mx.sym.broadcast_mul(mx.sym.var("softmax_label").reshape((-1, 1)), weight).reshape((-1,))
    size = mx.sym.broadcast_add(size, 0 * mx.sym.var("data").sum(axis=1))
    return mx.mod.Module(mx.sym.MakeLoss(size, name="size"), context=[mx.cpu(i) for i in range(devices)])


def sizes(*values):
    """Two samples a batch."""
    return mxloss.io.ArrayIter(np.ones((len(values), 1)), np.array(values), 2)


class Halve(mx.optimizer.Optimizer):
    """Half of each weight, on each step."""

    def create_state(self, index, weight):
        return None

    def update(self, index, weight, grad, state):
        weight[:] = weight / 2


def fit_falling(made, *, epochs=5, **options):
    metric = mxloss.metric.from_symbol(made.symbol)
    return mxloss.fit(made, sizes(*[1] * 2 * HALVES), sizes(1, 1), metric, num_epoch=epochs, optimizer=Halve(),
                      optimizer_params=(), **options)


@pytest.mark.parametrize(("target", "place"), [
    (Target("size", 2.5, direction="min", every="batch"), (0, 2, 2.0)),
    (Target("size", 2.5, direction="min", every="batch", patience=2), (0, 3, 1.0)),
    (Target("size", 2.5, direction="min", every=2), (0, 3, 1.5)),
    (Target("size", 2.5, direction="min"), (1, 3, (0.5 + 0.25 + 0.125 + 0.0625) / 4)),
    (Target("size", 2.5, direction="min", data="validation"), (0, 3, 0.5)),
    (Target("size", 0.1, direction="min", data="validation", patience=2), (2, 3, 8 / 2 ** 12)),
    (Plateau("size", direction="min", patience=1, min_delta=3, every="batch"), (0, 2, 2.0)),
])
@pytest.mark.parametrize("devices", [1, 2])
def test_it_stops_where_a_named_loss_says_so(tmp_path, target, place, devices):
    seen, ends, made = Seen(), [], falling(devices)
    outcome = fit_falling(made, stop=_anew(target), watch=[seen], checkpoint=tmp_path,
                          epoch_end_callback=lambda epoch, *rest: ends.append(epoch))
    assert (outcome.epoch, outcome.batch, outcome.value) == place
    assert outcome[3:] == ("size", place[2], target.data, None)
    assert outcome.reason == target.reason
    assert outcome.exit_code == 0
    trained = HALVES * outcome.epoch + outcome.batch + 1
    assert len(seen.train) == trained  # no batch more
    assert made.get_params()[0]["p"].asscalar() == 8 / 2 ** trained
    epochs = list(range(outcome.epoch + 1))
    assert ends == epochs == sorted(seen.validation)  # callbacks and validation of the epoch that was cut too
    assert Folder(tmp_path).list()[-1] == divmod(trained, HALVES)


def _anew(criterion):
    """The same criterion, that has seen nothing: those of a parametrised test are used by each of its cases."""
    options = {"direction": criterion.direction, "patience": criterion.patience, "data": criterion.data,
               "every": criterion.every}
    if isinstance(criterion, Target):
        return Target(criterion.names[0], criterion.value, **options)
    return Plateau(criterion.names[0], min_delta=criterion.min_delta, **options)


def test_without_a_reason_it_goes_to_the_end():
    assert fit_falling(falling(), epochs=2) == ("end", 1, HALVES - 1, None, None, None, None)
    assert fit_falling(falling(), epochs=2, stop=NotFinite()).reason == "end"
    assert fit_falling(falling(), epochs=0) == ("end", None, None, None, None, None, None)


@pytest.mark.parametrize("every", ["batch", "epoch"])
def test_what_has_reached_its_target_is_not_trained_on_until_the_target_is_another(tmp_path, every):
    def resumed(value):
        made = falling()
        outcome = fit_falling(made, stop=Target("size", value, direction="min", every=every), checkpoint=tmp_path,
                              resume=True)
        return outcome, made.get_params()[0]["p"].asscalar()

    first = resumed(0.6)
    assert resumed(0.6) == first
    assert first[0].reason == "target"
    assert resumed(0.3)[1] < first[1]


def test_the_first_of_several_criteria_is_told():
    stop = [Target("size", 0.6, direction="min", every="batch"), Target("size", 4, direction="min", every="batch")]
    assert fit_falling(falling(), stop=stop)[:5] == ("target", 0, 1, "size", 4.0)


def test_a_window_does_not_reach_over_an_epoch():
    stop = Target("size", 1.5, direction="min", every=3)
    outcome = fit_falling(falling(), stop=stop)  # 8 4 2 | 1 is left over | .5 .25 .125
    assert (outcome.epoch, outcome.batch) == (1, 2)
    assert outcome.value == pytest.approx((0.5 + 0.25 + 0.125) / 3)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_loss_that_is_not_finite_stops_it_and_replaces_no_checkpoint(tmp_path, devices):
    made = falling(devices)

    def poison(param):
        if param.nbatch == 1:
            made.set_params({"p": mx.nd.array([[float("nan")]])}, {})

    folder = Folder(tmp_path)
    with pytest.warns(UserWarning, match="size"):
        outcome = fit_falling(made, stop=NotFinite(), checkpoint=folder, batch_end_callback=poison)
    assert outcome[:4] == ("not_finite", 0, 2, "size")
    assert folder.list() == []
    assert (tmp_path / "0000-000003-failed").is_dir()


class Poison(mx.optimizer.Optimizer):
    """NaN, on the third step."""

    def create_state(self, index, weight):
        return None

    def update(self, index, weight, grad, state):
        self._update_count(index)
        if self.num_update == HALVES:
            weight[:] = float("nan")


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path):
    """The last step of an epoch made them so: no loss has shown it yet."""
    made = falling()
    outcome = mxloss.fit(made, sizes(*[1] * 2 * HALVES), eval_metric=mxloss.metric.from_symbol(made.symbol),
                         num_epoch=3, optimizer=Poison(), optimizer_params=(), stop=NotFinite(),
                         checkpoint=Folder(tmp_path, every=3))
    assert outcome[:4] == ("not_finite", 0, HALVES - 1, "arg:p")
    assert Folder(tmp_path).list() == [(0, 3)]
    assert (tmp_path / "0001-000000-failed").is_dir()


def test_a_target_on_two_devices_is_that_of_the_whole_batch():
    """The mean over both devices' samples, not what the last device has: they differ."""
    made = falling(2, start=1.0)
    outcome = mxloss.fit(made, sizes(1, 3, 1, 3, 1, 3), eval_metric=mxloss.metric.from_symbol(made.symbol), num_epoch=2,
                         optimizer=Halve(), optimizer_params=(),
                         stop=Target("size", 1.0, direction="min", every="batch"))
    assert (outcome.batch, outcome.value) == (1, 1.0)  # 2, then 1 = (0.5 + 1.5) / 2


def test_what_module_fit_takes_is_taken_and_what_it_calls_is_called(caplog):
    """Speedometer, the other stock callbacks, a monitor, and several callbacks in a list, beside our own."""
    heard = []
    monitor = mx.monitor.Monitor(2, pattern="softmax.*", stat_func=lambda array: array.sum())
    made = module(2)
    with caplog.at_level(logging.INFO):
        fit(made, epochs=2, watch=[Seen()], monitor=monitor,
            batch_end_callback=[mx.callback.Speedometer(8, frequent=2), mx.callback.log_train_metric(3),
                                lambda param: heard.append(("batch", param.epoch, param.nbatch))],
            eval_batch_end_callback=lambda param: heard.append(("validation", param.epoch, param.nbatch)),
            eval_end_callback=[mx.callback.LogValidationMetricsCallback(),
                               lambda param: heard.append(("validated", param.epoch, param.nbatch))],
            epoch_end_callback=[lambda epoch, symbol, args, auxs: heard.append(("epoch", epoch, len(args)))])
    expected = []
    for epoch in range(2):
        expected += [("batch", epoch, batch) for batch in range(BATCHES)] + [("epoch", epoch, 8)]
        expected += [("validation", epoch, batch) for batch in range(2)] + [("validated", epoch, 2)]
    assert heard == expected
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("Epoch[1] Batch [0-2]\tSpeed") and "center_loss=" in line for line in lines) == 1
    assert sum(line.startswith("Iter[1] Batch[3] Train-accuracy") for line in lines) == 1
    assert sum(line.startswith("Epoch[1] Validation-center_loss") for line in lines) == 2  # Module.fit and its callback
    stats = [line for line in lines if line.startswith("Batch:") and "softmax_output" in line]
    assert len(stats) == 2 * BATCHES * 2 / 2  # each second batch, on each device, once
    assert not [line for line in lines if "ignor" in line]


def test_stock_checkpoints_are_written_beside_ours(tmp_path):
    made = module(2)
    fit(made, tmp_path / "ours", epochs=2, epoch_end_callback=mx.callback.do_checkpoint(str(tmp_path / "stock")))
    _, args, auxs = mx.model.load_checkpoint(str(tmp_path / "stock"), 2)
    ours = Folder(tmp_path / "ours").load().params
    for kind, arrays in (("arg:", args), ("aux:", auxs)):
        for name, array in arrays.items():
            np.testing.assert_array_equal(array.asnumpy(), ours[kind + name].asnumpy())


def test_the_same_seed_is_the_same_training_and_another_is_not():
    made = [module(2) for _ in range(3)]
    for seed, one in zip((5, 5, 6), made):
        np.random.rand(7)  # whatever the process has drawn before
        fit(one, epochs=1, seed=seed)
    same, again, other = (numbers(one) for one in made)
    for name in same:
        np.testing.assert_array_equal(same[name], again[name], err_msg=name)
    assert any((same[name] != other[name]).any() for name in same)


def test_without_draws_mxnets_generator_is_not_seeded_at_each_batch(monkeypatch):
    """It takes more than a millisecond of the engine."""
    calls = []
    seed = mx.random.seed
    monkeypatch.setattr(mx.random, "seed", lambda *args, **kwargs: calls.append(args) or seed(*args, **kwargs))
    fit(module(dropout=0), epochs=2)
    assert len(calls) == 3  # for the parameters, and at the start of each epoch
    del calls[:]
    fit(module(), epochs=2)
    assert len(calls) == 3 + 2 * BATCHES


def test_an_iterator_of_mxnet_is_trained_on_as_module_fit_does():
    data, label = np.random.rand(10, 5), np.arange(10) % 3
    made = module(dropout=0)
    seen = Seen()
    outcome = fit(made, data=mx.io.NDArrayIter(data, label, 4), epochs=2, watch=[seen], stop=After(4))
    assert outcome[1:3] == (1, 0)
    assert sorted(seen.train) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert fit(module(dropout=0), data=mx.io.NDArrayIter(data, label, 4), epochs=2)[:3] == ("end", 1, 2)


def test_a_bucketing_module_stops_too():
    def make(key):
        return module(dropout=0).symbol, ["data"], ["softmax_label"]

    class Buckets(mx.io.DataIter):
        def __init__(self):
            super().__init__(4)
            self.default_bucket_key, self.left = 4, 3
            self.provide_data = [mx.io.DataDesc("data", (4, 5))]
            self.provide_label = [mx.io.DataDesc("softmax_label", (4,))]

        def reset(self):
            self.left = 3

        def next(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return mx.io.DataBatch([mx.nd.ones((4, 5))], [mx.nd.zeros(4)], bucket_key=4, pad=0,
                                   provide_data=self.provide_data, provide_label=self.provide_label)

    seen = Seen()
    outcome = mxloss.fit(mx.mod.BucketingModule(make, default_bucket_key=4), Buckets(), num_epoch=3,
                         eval_metric=mxloss.metric.from_symbol(module(dropout=0).symbol), stop=After(5), watch=[seen],
                         batch_end_callback=mx.callback.Speedometer(4, 1))
    assert outcome[1:3] == (1, 1)
    assert len(seen.train) == 5


def test_data_without_a_batch_is_told(tmp_path):
    class Empty(mx.io.DataIter):
        provide_data, provide_label = train_data().provide_data, train_data().provide_label

        def next(self):
            raise StopIteration

    with pytest.raises(ValueError, match="fit: `train_data` must be an iterator with a batch left, got 'Empty'"):
        fit(module(), data=Empty(8))


def test_an_error_of_a_callback_reaches_the_caller_and_closes_the_watchers():
    class Watcher(Seen):
        closed = 0

        def close(self):
            self.closed += 1

    watcher = Watcher()

    def fail(param):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit(module(), watch=[watcher], batch_end_callback=fail)
    assert watcher.closed == 1


def test_validation_sees_all_its_samples_in_order_each_epoch():
    order = []

    def note(param):
        order.append(param.locals["eval_batch"].label[0].asnumpy().tolist())

    fit(module(), epochs=2, eval_batch_end_callback=note)
    first, second = order[:2], order[2:]
    one = sorted(label for batch in first for label in batch)
    assert one == sorted(label for batch in second for label in batch)
    assert len(one) == sum(batch.label[0].shape[0] for batch in validation_data())
