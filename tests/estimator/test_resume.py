"""A training of the Estimator that stopped and went on is the training that did not stop, to the bit."""
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import mxloss
from mxloss.checkpoint import Folder
from mxloss.estimator import Estimator, GradientUpdateHandler
from mxloss.stop import Target

from ..stopping import After
from .network import assert_same, contexts, estimator, loader, network, numbers, samples, trainer


def array_iter():
    return mxloss.io.ArrayIter(*samples(21), 4, shuffle=True, seed=2)


def shuffled_iter():
    np.random.seed(1)
    return mx.io.NDArrayIter(*samples(21), 4, shuffle=True)


def shuffled_loader():
    return loader(21, 4, shuffle=True)


def values(made):
    metrics = made.train_metrics + (made.val_metrics if made.run.validated else [])
    return dict(metric.get_global() for metric in metrics)


def stopped_and_resumed(path, make, data, stops, epochs=3, **options):
    """An estimator that was trained by a new one after each stop, each begun from other numbers."""
    for batches in [*stops, None]:
        made = make()
        for parameter in made.net.collect_params().values():
            if batches != stops[0]:
                parameter.set_data(parameter.list_data()[0] + 1)
        mx.random.seed(99)
        np.random.seed(99)
        outcome = made.fit(data(), loader(5, 2), epochs, checkpoint=path, resume=True, seed=4,
                           stop=None if batches is None else After(batches), **options)
        assert outcome.reason == ("end" if batches is None else "target")
    return made


def check(path, make, data, stops, epochs=3, **options):
    straight = make()
    straight.fit(data(), loader(5, 2), epochs, seed=4, **options)
    made = stopped_and_resumed(path, make, data, stops, epochs, **options)
    assert_same(numbers(straight), numbers(made))
    assert values(made) == values(straight)
    assert made.trainer.optimizer.num_update == straight.trainer.optimizer.num_update


@pytest.mark.parametrize("update_on_kvstore", [None, False])  # None: on the kvstore of several devices
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_inside_an_epoch_with_dropout_and_shuffling_it_is_the_same_to_the_bit(tmp_path, devices, update_on_kvstore):
    def make():
        return estimator(devices, dropout=0.5, update_on_kvstore=update_on_kvstore)

    check(tmp_path, make, shuffled_loader, stops=[4, 5])  # inside the first and the second epoch of 6 batches


@pytest.mark.parametrize("data", [array_iter, shuffled_iter])
@pytest.mark.parametrize("stops", [[6], [8], [1, 1, 10]])
def test_an_iterator_goes_on_where_it_was(tmp_path, data, stops):
    check(tmp_path, lambda: estimator(dropout=0.5, hybridize=True), data, stops)


def test_three_devices_agree_to_the_last_digit(tmp_path):
    check(tmp_path, lambda: estimator(3), shuffled_loader, stops=[7])


def test_a_network_that_draws_nothing_is_not_seeded_at_each_batch(tmp_path, monkeypatch):
    seeded = []
    monkeypatch.setattr(mx.random, "seed", seeded.append)
    estimator(hybridize=True).fit(array_iter(), epochs=1, seed=1)
    assert len(seeded) == 1
    estimator(hybridize=True, dropout=0.5).fit(array_iter(), epochs=1, seed=1)
    assert len(seeded) == 1 + 7


@pytest.mark.parametrize("stops", [[1], [3], [4], [5]])
def test_a_stop_waits_for_the_step_of_gathered_batches(tmp_path, stops):
    """Steps are made after batches 2, 4 and 6, and after batches 8, 10 and 11 of the second epoch."""
    check(tmp_path, lambda: estimator(2), lambda: loader(11, 2), stops,
          event_handlers=[GradientUpdateHandler(batches=2)])


def test_states_of_layers_stay_different_on_each_device(tmp_path):
    def make():
        net = gluon.nn.HybridSequential(prefix="net_")
        with net.name_scope():
            net.add(gluon.nn.Dense(4), gluon.nn.BatchNorm(), gluon.nn.Dense(3))
        net.initialize(mx.init.One(), ctx=contexts(2))
        made = Estimator(net, gluon.loss.SoftmaxCELoss(), trainer=gluon.Trainer(net.collect_params(), "adam"))
        made.logger.handlers.clear()
        return made

    straight = make()
    straight.fit(loader(16, 4), epochs=2, seed=4)
    make().fit(loader(16, 4), epochs=2, seed=4, checkpoint=tmp_path, stop=After(3))
    made = make()
    made.fit(loader(16, 4), epochs=2, seed=4, checkpoint=tmp_path, resume=True)
    assert_same(numbers(straight), numbers(made))
    one, other = made.net[1].running_mean.list_data()
    assert np.abs(one.asnumpy() - other.asnumpy()).max() > 1e-4


def test_schedulers_criteria_and_penalties_go_on(tmp_path):
    def make():
        net = gluon.nn.HybridSequential(prefix="net_")
        net.add(gluon.nn.Dense(3, in_units=3, prefix="dense_"), mxloss.ActivityPenalty(weight=0.1))
        net = mxloss.WithPenalties(net)
        net.initialize(mx.init.One())
        scheduler = mx.lr_scheduler.FactorScheduler(3, 0.5)
        own = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0, "lr_scheduler": scheduler})
        made = Estimator(net, gluon.loss.SoftmaxCELoss(), trainer=own)
        made.logger.handlers.clear()
        return made

    def fit(made, *stop, **options):
        target = Target("loss", 100, direction="min", every=5, patience=2)  # reached after 10 batches
        return made.fit(loader(24, 2), epochs=3, seed=4, stop=[target, *stop], **options)

    straight, made = make(), make()
    assert fit(straight)[:3] == ("target", 0, 9)
    assert fit(made, After(7), checkpoint=tmp_path)[:3] == ("target", 0, 6)
    made = make()
    assert fit(made, checkpoint=tmp_path, resume=True)[:3] == ("target", 0, 9)
    assert_same(numbers(straight), numbers(made))
    assert values(made) == values(straight)
    assert list(values(made))[1] == "training activity"
    assert made.trainer.learning_rate == straight.trainer.learning_rate < 1


def test_what_is_done_is_not_trained_again(tmp_path):
    made = estimator()
    made.fit(loader(8, 4), epochs=2, checkpoint=tmp_path)
    before = numbers(made)
    made = estimator()
    assert made.fit(loader(8, 4), epochs=2, checkpoint=tmp_path, resume=True)[:3] == ("end", 1, 1)
    assert_same(numbers(made), before)
    assert made.fit(loader(8, 4), batches=6, checkpoint=tmp_path, resume=True)[:3] == ("end", 2, 1)
    assert made.trainer.optimizer.num_update == 6


def test_mxnets_own_handlers_count_on(tmp_path, caplog):
    estimator().fit(loader(8, 4), epochs=2, checkpoint=tmp_path)
    made, lines = estimator(), []
    made.logger.info = lambda line, *values: lines.append(line % values)
    made.fit(loader(8, 4), epochs=3, checkpoint=tmp_path, resume=True)
    assert any(line.startswith("[Epoch 2] Finished") for line in lines)
    assert not any(line.startswith("[Epoch 0]") for line in lines)


def test_the_best_and_the_last_checkpoints_are_kept_and_loaded_by_mxnet(tmp_path):
    made = estimator(hybridize=True)
    folder = Folder(tmp_path, keep=1, best=("total_loss", "min", "validation"), every=1)
    made.fit(loader(8, 4), loader(5, 2), epochs=3, checkpoint=folder)
    assert folder.list()[-1] == (3, 0)
    best = folder.load("best")
    assert best.values["validation"]["total_loss"] == pytest.approx(
        best.values["validation"]["softmax"] + best.values["validation"]["distance"])
    symbol, arguments, _ = mx.model.load_checkpoint(str(folder.load().path / "model"), 3)
    assert symbol.list_arguments()[0] == "data"
    np.testing.assert_array_equal(arguments["net_dense0_weight"].asnumpy(),
                                  made.net.embedding.weight.data().asnumpy())


def test_checkpoints_of_another_training_are_not_overwritten(tmp_path):
    estimator().fit(loader(4, 4), epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"fit: `resume` must be True, or `checkpoint` a folder without checkpoints"):
        estimator().fit(loader(4, 4), epochs=1, checkpoint=tmp_path)


def wide():
    net = gluon.nn.Dense(3, in_units=3, prefix="net_")
    net.initialize()
    return Estimator(net, gluon.loss.SoftmaxCELoss(), trainer=gluon.Trainer(net.collect_params(), "sgd"))


@pytest.mark.parametrize(("make", "options", "words"), [
    (estimator, {"seed": 2}, r"fit: `seed` must be that of the checkpoint, 1, got 2"),
    (wide, {"seed": 1}, r"fit: `parameters of the checkpoint` must be among 'net.weight', 'net.bias', "
                        r"got 'net.embedding.weight'"),
])
def test_a_checkpoint_of_another_training_is_an_error_before_anything_changes(tmp_path, make, options, words):
    estimator().fit(loader(8, 4), epochs=1, seed=1, checkpoint=tmp_path)
    made = make()
    before = numbers(made)
    with pytest.raises(ValueError, match=words):
        made.fit(loader(8, 4), epochs=2, checkpoint=tmp_path, resume=True, **options)
    assert_same(numbers(made), before)


def test_an_error_leaves_no_gradients_that_add_up():
    made = estimator()
    with pytest.raises(ValueError, match="of 4 samples in each array"):
        made.fit(gluon.data.DataLoader([0], 1, batchify_fn=lambda _: [mx.nd.ones((4, 3)), mx.nd.ones(3)]), epochs=1,
                 event_handlers=[GradientUpdateHandler(batches=2)])
    assert {parameter.grad_req for parameter in made.net.collect_params().values()} == {"write"}


SCRIPT = """
import sys
from tests.estimator.network import estimator, loader, numbers
from tests.estimator.test_resume import After
import numpy as np
made = estimator(2, dropout=0.5)
stop = After(int(sys.argv[2])) if sys.argv[2] != "0" else None
made.fit(loader(21, 4, shuffle=True), epochs=3, seed=4, checkpoint=sys.argv[1], resume=True, stop=stop)
np.savez(sys.argv[1] + "/result", **{name: arrays[0] for name, arrays in numbers(made).items()})
"""


@pytest.mark.slow
def test_a_new_process_goes_on(tmp_path):
    for batches in ("8", "0"):
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), batches], check=True, timeout=120,
                       env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    made = estimator(2, dropout=0.5)
    made.fit(loader(21, 4, shuffle=True), epochs=3, seed=4)
    with np.load(str(tmp_path / "result.npz")) as result:
        assert_same({name: arrays[:1] for name, arrays in numbers(made).items()},
                    {name: [result[name]] for name in numbers(made)})


@pytest.mark.parametrize(("options", "words"), [
    ({"epochs": 1, "resume": True}, r"fit: `resume` must be False where there is no `checkpoint`, got True"),
    ({"epochs": 1, "batches": 1}, r"fit: `epochs` must be given, or `batches` instead"),
    ({"epochs": 1, "seed": -1}, r"fit: `seed` must be a whole number >= 0, got -1"),
])
def test_arguments_that_do_not_fit_together_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        estimator().fit(loader(4, 2), **options)


def test_the_same_seed_is_the_same_training():
    one, other = (estimator(2, dropout=0.5) for _ in range(2))
    for made in (one, other):
        mx.random.seed(int(np.random.randint(1000)))
        made.fit(shuffled_loader(), epochs=1, seed=8)
    assert_same(numbers(one), numbers(other))
    assert trainer(*network()).learning_rate == 0.1
