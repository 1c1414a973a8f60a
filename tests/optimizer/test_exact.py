"""One set of centers: any number of devices trains like the oracle, which has none."""
import mxnet as mx
import numpy as np
import pytest

from tests import center_training as training
from tests.oracle import Oracle, assert_agree

LOSS = {"alpha": 0.4, "weight": 0.3}
SPARSE = pytest.mark.parametrize("sparse_grad", [False, True], ids=["dense", "row_sparse"])
DEVICES = pytest.mark.parametrize("number", [1, 2, 3, 4])


def oracle(**settings):
    return Oracle(training.initial_weights(), training.NUM_CLASS, momentum=0.9, **dict(LOSS, **settings))


@SPARSE
@DEVICES
@pytest.mark.parametrize("kvstore", ["local", "device"])
def test_module_on_any_devices_trains_like_the_oracle(number, kvstore, sparse_grad):
    made, block = training.module(number, kvstore=kvstore, sparse_grad=sparse_grad, **LOSS)
    wanted = oracle()
    for data, label in training.batches():
        training.step_module(made, data, label)
        losses = wanted.step(data, label, lr=0.3, rescale=1 / training.SIZES[0])
        np.testing.assert_allclose(made.get_outputs()[1].asnumpy(), losses, rtol=1e-6, atol=1e-9)
    assert_agree(wanted, *training.module_state(made, block))


@SPARSE
@pytest.mark.parametrize("hybridize", [False, True], ids=["imperative", "hybridized"])
@pytest.mark.parametrize(("number", "kvstore", "on_kvstore"), [(1, "device", None)] + [
    (number, kvstore, on_kvstore) for number in (2, 3, 4)
    for kvstore, on_kvstore in (("local", None), ("device", True), ("device", False))])
def test_gluon_on_any_devices_trains_like_the_oracle(number, kvstore, on_kvstore, hybridize, sparse_grad):
    made = training.net(number, hybridize=hybridize, sparse_grad=sparse_grad, **LOSS)
    trainer = training.trainer(made, kvstore, update_on_kvstore=on_kvstore)
    wanted = oracle()
    for data, label in training.batches():
        got = training.step_net(made, trainer, data, label)
        losses = wanted.step(data, label, lr=0.3, rescale=1 / len(label))
        np.testing.assert_allclose(got, losses, rtol=1e-6, atol=1e-9)
    assert_agree(wanted, *training.net_state(made))


@pytest.mark.parametrize("api", ["module", "gluon"])
@pytest.mark.parametrize("number", [1, 3])
def test_plain_float32_stays_close_to_the_oracle(api, number):
    wanted = oracle()
    if api == "module":
        made, block = training.module(number, dtype="float32", **LOSS)
    else:
        made = training.net(number, dtype="float32", **LOSS)
        trainer = training.trainer(made)
    for data, label in training.batches():
        if api == "module":
            training.step_module(made, data, label, "float32")
        else:
            training.step_net(made, trainer, data, label, batch_size=training.SIZES[0], dtype="float32")
        wanted.step(data, label, lr=0.3, rescale=1 / training.SIZES[0])
    assert_agree(wanted, *(training.module_state(made, block) if api == "module" else training.net_state(made)),
                 tolerance=3e-6)


@SPARSE
@pytest.mark.parametrize("number", [1, 2])
def test_centers_by_gradient_are_a_plain_parameter_of_any_optimizer(number, sparse_grad):
    settings = {"weight": 0.3, "update": "gradient"}
    wanted = Oracle(training.initial_weights(), training.NUM_CLASS, momentum=0.9, **settings)
    sgd = {"learning_rate": 0.3, "momentum": 0.9, "lazy_update": False}
    made, block = training.module(number, optimizer="sgd", params=sgd, sparse_grad=sparse_grad, **settings)
    hybrid = training.net(number, sparse_grad=sparse_grad, **settings)
    trainer = training.trainer(hybrid, optimizer="sgd", params=sgd)
    for data, label in training.batches():
        if sparse_grad:  # where MXNet's momentum of absent classes rests
            label = np.arange(len(label)) % training.NUM_CLASS
        training.step_module(made, data, label)
        training.step_net(hybrid, trainer, data, label, batch_size=training.SIZES[0])
        wanted.step(data, label, lr=0.3, rescale=1 / training.SIZES[0])
    assert_agree(wanted, *training.module_state(made, block))
    assert_agree(wanted, *training.net_state(hybrid))
    with pytest.raises(ValueError, match="`update` must be 'average', for only then samples are counted"):
        block.class_counts()


@pytest.mark.parametrize("number", [1, 2])
def test_a_weight_of_zero_is_an_absent_sample_and_any_other_moves_centers_alike(number):
    made = training.net(number, **LOSS)
    trainer = training.trainer(made)
    wanted = oracle()
    rng = np.random.RandomState(2)
    for data, label in training.batches():
        sample_weight = rng.choice([0.0, 0.5, 2.0], len(label))
        got = training.step_net(made, trainer, data, label, sample_weight)
        losses = wanted.step(data, label, lr=0.3, rescale=1 / len(label), sample_weight=sample_weight)
        np.testing.assert_allclose(got, losses, rtol=1e-6, atol=1e-9)
    assert_agree(wanted, *training.net_state(made))


@pytest.mark.parametrize("api", ["module", "gluon"])
@pytest.mark.parametrize("number", [1, 2])
def test_added_gradients_are_the_statistic_of_the_union(api, number):
    """Two batches with grad_req='add' and one step are one step with the batch of both."""
    (data, label), (more, labels) = training.batches((8, 6))
    wanted = oracle()
    wanted.step(np.concatenate([data, more]), np.concatenate([label, labels]), lr=0.3, rescale=1 / 14)
    if api == "module":
        made, block = training.module(number, batch_size=8, grad_req="add", params={
            "base": "sgd", "learning_rate": 0.3, "momentum": 0.9, "rescale_grad": 1 / 14}, **LOSS)
        for part in ((data, label), (more, labels)):
            made.forward_backward(training.batch(*part))
        made.update()
        assert_agree(wanted, *training.module_state(made, block))
    else:
        made = training.net(number, **LOSS)
        made.collect_params().setattr("grad_req", "add")
        trainer = training.trainer(made)
        for part in ((data, label), (more, labels)):
            training.backward_net(made, *part)
        trainer.step(14)
        assert_agree(wanted, *training.net_state(made))


@pytest.mark.parametrize("api", ["module", "gluon"])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("kvstore", ["device", "local"])
def test_the_weight_can_change_while_training(api, number, kvstore):
    wanted = oracle()
    if api == "module":
        made, block = training.module(number, kvstore=kvstore, **LOSS)
    else:
        made = training.net(number, **LOSS)
        trainer, block = training.trainer(made, kvstore), made.center_loss
    for (data, label), weight in zip(training.batches(), (0.3, 0.1, 0.0, 2.0, 0.7)):
        wanted.weight = weight
        wanted.step(data, label, lr=0.3, rescale=1 / training.SIZES[0])
        block.set_weight(weight, *([made] if api == "module" else []))
        if api == "module":
            training.step_module(made, data, label)
            assert made.get_params()[1]["center_loss_weight"].asscalar() == pytest.approx(weight)
        else:
            training.step_net(made, trainer, data, label, batch_size=training.SIZES[0])
            assert block.weight == pytest.approx(weight)
    assert_agree(wanted, *(training.module_state(made, block) if api == "module" else training.net_state(made)))


def test_learning_rate_decay_and_clipping_do_not_reach_the_centers():
    made = training.net(2, **LOSS)
    trainer = training.trainer(made, params={"base": "adam", "learning_rate": 0.0, "wd": 0.1, "clip_gradient": 1e-3})
    wanted = oracle()
    for data, label in training.batches():
        training.step_net(made, trainer, data, label)
        wanted.step(data, label, lr=0.0, rescale=1.0)
    assert_agree(wanted, *training.net_state(made))


def test_the_recipe_for_clipping_by_global_norm_leaves_the_centers_out():
    made = training.net(2, dtype="float32", **LOSS)  # MXNet's clip_global_norm takes no other type
    trainer = training.trainer(made, update_on_kvstore=False, params={"base": "sgd", "learning_rate": 0.3})
    parameters = made.collect_params()
    before = training.net_state(made)[0]
    data, label = training.batches()[0]
    training.backward_net(made, data, label, dtype="float32")
    trainer.allreduce_grads()
    for ctx in training.devices(2):
        norm = mx.gluon.utils.clip_global_norm([p.grad(ctx) for p in parameters.values() if p.grad_req != "null"
                                                and not p.name.endswith("centers")], 0.01)
    assert norm > 0.01
    trainer.update(1)
    wanted = oracle()
    wanted.step(data, label, lr=0.0, rescale=1.0)
    after, centers, counts = training.net_state(made)
    wanted.weights = after
    assert_agree(wanted, after, centers, counts)
    moved = np.sqrt(sum(((after[name] - before[name]) ** 2).sum() for name in after))
    assert moved == pytest.approx(0.3 * 0.01, rel=1e-3)
