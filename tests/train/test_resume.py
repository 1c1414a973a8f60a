"""A training that stopped and went on is the training that did not stop."""
import pickle

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.checkpoint import Folder
from mxloss.stop import Plateau, Target

from ..stopping import After
from .runs import BATCHES, Seen, assert_close, assert_equal, finish, fit, module, numbers, process, train_data


def scrambled(made):
    """A module of the same network, begun from other numbers, in a process whose generators are elsewhere."""
    mx.random.seed(99)
    np.random.seed(99)
    return made


@pytest.mark.parametrize(("devices", "stop"), [(1, BATCHES + 2), (2, 1), (4, 2 * BATCHES + 3)])
def test_a_new_process_goes_on_to_the_bit(tmp_path, devices, stop):
    straight, seen = module(devices), Seen()
    fit(straight, watch=[seen])
    finish(process(tmp_path, devices, stop))
    first = pickle.loads((tmp_path / "reached.pickle").read_bytes())
    assert first["outcome"][1:3] == divmod(stop - 1, BATCHES)
    finish(process(tmp_path, devices, "end"))
    resumed = pickle.loads((tmp_path / "reached.pickle").read_bytes())
    assert_equal(numbers(straight), resumed["numbers"])
    assert resumed["outcome"][:3] == ("end", 2, BATCHES - 1)
    assert {**first["train"], **resumed["train"]} == seen.train  # the values after each batch, of the whole epoch
    assert resumed["validation"] == {epoch: seen.validation[epoch] for epoch in resumed["validation"]}
    assert 2 in resumed["validation"]


def stopped_and_resumed(path, stops, devices=1, options=None, network=None, **more):
    for batches in [*stops, None]:
        made, seen = scrambled(module(devices, **(network or {}))), Seen()
        outcome = fit(made, path, resume=True, stop=None if batches is None else After(batches), watch=[seen],
                      **(options() if options else {}), **more)
        assert outcome.reason == ("end" if batches is None else "target")
    return made, seen


def check(path, stops, devices=1, options=None, network=None, assert_same=assert_equal, **more):
    straight, seen = module(devices, **(network or {})), Seen()
    fit(straight, watch=[seen], **(options() if options else {}), **more)
    made, resumed = stopped_and_resumed(path, stops, devices, options, network, **more)
    assert_same(numbers(straight), numbers(made))
    assert (resumed.validation.get(2) == seen.validation[2]) == (assert_same is assert_equal)


@pytest.mark.parametrize("stops", [[BATCHES], [1, 1, 1, 5], [BATCHES - 1, 2]])
@pytest.mark.parametrize("kvstore", ["local", "device"])
def test_wherever_it_stops_and_however_often(tmp_path, stops, kvstore):
    check(tmp_path, stops, devices=2, kvstore=kvstore)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_off_the_kvstore(tmp_path, devices, monkeypatch):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", "0")
    check(tmp_path, [6], devices)


def test_three_devices_agree_to_the_last_digits(tmp_path):
    straight = module(3)
    fit(straight)
    made, _ = stopped_and_resumed(tmp_path, [2, 4], 3)
    assert_close(numbers(straight), numbers(made))


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("optimizer", ["adam", "nag", "signum"])
def test_other_optimizers(tmp_path, optimizer, devices):
    check(tmp_path, [3, 2], devices, lambda: {"optimizer": optimizer, "optimizer_params": {"learning_rate": 0.01}})


def test_an_optimizer_that_draws(tmp_path):
    check(tmp_path, [3, 2], 1, lambda: {"optimizer": "sgld", "optimizer_params": {"learning_rate": 0.01}},
          {"dropout": 0})


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_exact_centers_go_on_with_their_counts(tmp_path, devices):
    def options():
        return {"optimizer": "withcenters", "optimizer_params": {"base": "sgd", "learning_rate": 0.1, "momentum": 0.9}}

    check(tmp_path, [5], devices, options, {"exact": True})


def test_an_optimizer_of_the_caller_stays_the_one_that_is_used(tmp_path):
    def made():
        return mx.optimizer.SGD(learning_rate=0.1, momentum=0.9, rescale_grad=1 / 8)

    check(tmp_path, [5], 2, lambda: {"optimizer": made(), "optimizer_params": ()})
    optimizer, again = made(), module(2)
    fit(again, tmp_path, epochs=4, resume=True, optimizer=optimizer, stop=After(1))
    assert optimizer.num_update == 3 * BATCHES + 1
    before = numbers(again)
    optimizer.set_learning_rate(0)
    optimizer.momentum = 0
    fit(again, resume=False, epochs=5)
    for name, value in numbers(again).items():
        if name.startswith("arg"):
            np.testing.assert_array_equal(value, before[name])


def test_the_metrics_of_others_go_on_too(tmp_path):
    def options():
        accuracy = mx.metric.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])
        entropy = mx.metric.CrossEntropy(output_names=["softmax_output"], label_names=["softmax_label"])
        mean = mx.metric.np(lambda label, pred: float(pred[:, 0].mean()), name="mean")
        mean.output_names, mean.label_names = ["softmax_output"], ["softmax_label"]
        return {"metric": mx.metric.CompositeEvalMetric([accuracy, entropy, mean])}

    straight, resumed = Seen(), None
    fit(module(2), watch=[straight], **options())
    _, resumed = stopped_and_resumed(tmp_path, [BATCHES + 2], 2, options)
    assert resumed.train == {place: values for place, values in straight.train.items() if place >= (1, 2)}


def test_criteria_go_on_with_what_they_have_seen(tmp_path):
    """Windows of three batches and patience reach over the stop."""
    def criteria():
        return [Target("center_loss", 1e9, direction="min", every=3, patience=3),
                Plateau("accuracy", direction="max", patience=1, min_delta=1)]

    straight = fit(module(), stop=criteria()[:1])
    assert (straight.epoch, straight.batch) == (2, 2)
    for batches in (2, BATCHES + 3):
        fit(module(), tmp_path, resume=True, stop=[*criteria()[:1], After(batches)])
    assert fit(module(), tmp_path, resume=True, stop=criteria()[:1]) == straight
    straight = fit(module(), stop=criteria()[1])
    assert (straight.epoch, straight.batch, straight.reason) == (1, BATCHES - 1, "plateau")
    assert fit(module(), tmp_path / "b", stop=[criteria()[1], After(BATCHES + 1)]).reason == "target"
    assert fit(module(), tmp_path / "b", resume=True, stop=criteria()[1]) == straight


def test_what_is_resumed_when_all_is_done_is_there_and_not_trained(tmp_path):
    straight, again = module(2), module(2)
    fit(straight, tmp_path)
    assert fit(again, tmp_path, resume=True) == ("end", 2, BATCHES - 1, None, None, None, None)
    for arrays, expected in zip(again.get_params(), straight.get_params()):
        assert_equal({name: array.asnumpy() for name, array in arrays.items()},
                     {name: array.asnumpy() for name, array in expected.items()})


def test_one_call_of_module_fit_reaches_the_same_without_seed():
    """What `fit` adds changes no number: no seed, no stop."""
    straight, ours = module(2, dropout=0), module(2, dropout=0)
    for made in (straight, ours):
        made.bind(train_data().provide_data, train_data().provide_label)
        mx.random.seed(3)
        made.init_params(mx.init.Xavier())
    straight.fit(train_data(), num_epoch=3, kvstore="device", eval_metric=mxloss.metric.from_symbol(straight.symbol),
                 optimizer_params={"learning_rate": 0.1, "momentum": 0.9})
    mxloss.fit(ours, train_data(), num_epoch=3, kvstore="device", eval_metric=mxloss.metric.from_symbol(ours.symbol),
               optimizer_params={"learning_rate": 0.1, "momentum": 0.9})
    assert_equal(numbers(straight), numbers(ours))


def test_mxnet_reads_a_checkpoint(tmp_path):
    made = module(2)
    folder = Folder(tmp_path)
    fit(made, folder)
    symbol, args, auxs = mx.model.load_checkpoint(str(folder.load().path / "model"), 3)
    assert symbol.tojson() == made.symbol.tojson()
    for found, expected in zip((args, auxs), made.get_params()):
        assert_equal({name: array.asnumpy() for name, array in found.items()},
                     {name: array.asnumpy() for name, array in expected.items()})


def test_the_best_epoch_is_kept_beside_the_last_ones(tmp_path):
    folder, seen = Folder(tmp_path, keep=2, best=("accuracy", "min", "validation")), Seen()
    fit(module(), folder, epochs=6, watch=[seen])
    best = min(range(6), key=lambda epoch: seen.validation[epoch]["accuracy"])
    assert folder.load("best")[:2] == (best + 1, 0)
    assert folder.list() == sorted({(best + 1, 0), (5, 0), (6, 0)})
    assert folder.load("best").values["validation"] == seen.validation[best]


def test_checkpoints_within_an_epoch(tmp_path):
    straight, killed = module(2), module(2)

    class Killed(Exception):
        pass

    def kill(param):
        if (param.epoch, param.nbatch) == (1, 3):
            raise Killed

    with pytest.raises(Killed):
        fit(killed, Folder(tmp_path, keep=9, every=2), batch_end_callback=kill)
    assert Folder(tmp_path).list() == [(0, 2), (1, 0), (1, 2)]
    fit(straight)
    resumed = module(2)
    fit(resumed, tmp_path, resume=True)
    assert_equal(numbers(straight), numbers(resumed))


# --- what is refused --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("change", "words"), [
    ({"seed": 6}, "fit: `seed` must be 5 as in the checkpoint, got 6"),
    ({"seed": None}, "fit: `seed` must be 5 as in the checkpoint, got None"),
    ({"data": train_data(batch_size=10)}, "fit: `batch_size` must be 8 as in the checkpoint, got 10"),
    ({"data": mx.io.NDArrayIter(np.zeros((8, 5)), np.zeros(8), 8)},
     r"fit: `train_data` must be an iterator with seek\(epoch, batch\) to be resumed, as those of mxloss.io, got "
     "'NDArrayIter'"),
    ({"optimizer": "adam", "optimizer_params": {}},
     "fit: `optimizer` must be SGD, which the checkpoint is of, got 'Adam'"),
    ({"resume": False}, "fit: `resume` must be True, or `checkpoint` a folder without checkpoints, got False"),
    ({"network": {"exact": True}}, "fit: `checkpoint` must be of the parameters .*arg:center_loss_centers"),
    ({"devices": 4}, "fit: `checkpoint` must be of as many devices and the same kind of kvstore"),
])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch, change, words):
    monkeypatch.setenv("MXNET_UPDATE_ON_KVSTORE", "0")
    fit(module(2), tmp_path, epochs=1)
    change = dict({"resume": True}, **change)
    made = module(change.pop("devices", 2), **change.pop("network", {}))
    with pytest.raises(ValueError, match=words):
        fit(made, tmp_path, **change)


@pytest.mark.parametrize(("options", "kind", "words"), [
    ({"path": None, "resume": True}, ValueError, "fit: `resume` must be False without `checkpoint`, got True"),
    ({"resume": 1}, TypeError, "fit: `resume` must be True or False, got 1"),
    ({"seed": -1}, ValueError, "fit: `seed` must be a whole number >= 0, got -1"),
    ({"epochs": 2.5}, TypeError, "fit: `num_epoch` must be a whole number, got 2.5"),
    ({"optimiser": "sgd"}, ValueError, "fit: `arguments` must be among .*'optimizer'.*, got 'optimiser'"),
    ({"stop": Seen()}, TypeError, "fit: `stop` must be Target, Plateau or NotFinite, or a list of them, got <"),
    ({"stop": Target("loss", 1, direction="min")}, ValueError, "fit: `stop` must be among 'accuracy', .*, got 'loss'"),
])
def test_wrong_arguments_are_told_before_anything_is_trained(tmp_path, options, kind, words):
    made = module()
    path = options.pop("path", tmp_path / "checkpoints")
    with pytest.raises(kind, match=words):
        fit(made, path, **options)
    assert not made.binded
    assert not (tmp_path / "checkpoints").exists()


def test_an_optimizer_that_cannot_be_saved_is_told_before_anything_is_trained(tmp_path):
    """And not when the first epoch is done."""
    class Local(mx.lr_scheduler.LRScheduler):
        def __call__(self, step):
            return 1

    with pytest.raises(ValueError, match="fit: `optimizer` must be of parts that can be pickled, for its checkpoints"):
        fit(module(), tmp_path, optimizer_params={"learning_rate": 1, "lr_scheduler": Local()})
    assert not list(tmp_path.iterdir())


def test_a_bucketing_module_is_trained_but_not_saved(tmp_path):
    def make():
        return mx.mod.BucketingModule(lambda key: (module(dropout=0).symbol, ["data"], ["softmax_label"]),
                                      default_bucket_key=1)

    data = mx.io.NDArrayIter(np.zeros((8, 5)), np.zeros(8), 8)
    data.default_bucket_key = 1
    metric = mx.metric.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])
    with pytest.raises(ValueError, match="`checkpoint` must be None for any module but `mx.mod.Module`"):
        mxloss.fit(make(), data, eval_metric=metric, num_epoch=1, checkpoint=tmp_path)
