"""CenterLoss through the Estimator: one set of centers for all devices, as eq. 4 has it over the whole batch."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import mxloss
from mxloss.estimator import Estimator, GradientUpdateHandler

from .network import TwoOutputs, assert_same, contexts, loader, numbers
from .test_resume import After


def parts(devices, hybridize=False):
    net = TwoOutputs(prefix="net_")
    losses = mxloss.LossGroup(
        {"softmax": gluon.loss.SoftmaxCELoss(), "center": mxloss.CenterLoss(3, 4, weight=0.1, prefix="center_")},
        outputs={"center": 1})
    draw = np.random.RandomState(3)
    for block in (net, losses):
        block.initialize(ctx=contexts(devices))
        if hybridize:
            block.hybridize()
    for parameter in net.collect_params().values():
        parameter.set_data(mx.nd.array(draw.randn(*parameter.shape)))
    trainer = gluon.Trainer({**net.collect_params(), **losses.collect_params()}, "withcenters",
                            {"base": "sgd", "learning_rate": 0.1, "momentum": 0.9})
    return net, losses, trainer


def made(devices, hybridize=False):
    net, losses, trainer = parts(devices, hybridize)
    estimator = Estimator(net, losses, trainer=trainer)
    estimator.logger.handlers.clear()
    return estimator


@pytest.mark.parametrize("hybridize", [False, True])
def test_two_devices_train_as_train_step_does_and_resume(tmp_path, hybridize):
    net, losses, trainer = parts(2, hybridize)
    for _ in range(2):
        for batch in loader(21, 8):
            mxloss.train_step(net, losses, trainer, batch)
    made(2, hybridize).fit(loader(21, 8), epochs=2, seed=1, checkpoint=tmp_path, stop=After(4))
    estimator = made(2, hybridize)
    estimator.fit(loader(21, 8), epochs=2, seed=1, checkpoint=tmp_path, resume=True)
    for name, parameter in {**net.collect_params(), **losses.collect_params()}.items():
        assert_same({name: [array.asnumpy() for array in parameter.list_data()]}, {name: numbers(estimator)[name]})
    assert estimator.loss._children["center"].class_counts().sum().asscalar() == 2 * 21


def test_gathered_batches_move_the_centers_once_by_all_their_samples():
    gathered, large = made(2), made(1)
    gathered.fit(loader(21, 3), epochs=1, event_handlers=GradientUpdateHandler(batches=3))
    large.fit(loader(21, 9), epochs=1)
    assert_same({name: arrays * 2 for name, arrays in numbers(large).items()}, numbers(gathered), rtol=1e-4, atol=1e-6)


def test_a_last_batch_of_one_sample_moves_one_center_on_two_devices():
    one, two = made(1), made(2)
    for estimator in (one, two):
        estimator.fit(loader(9, 4), epochs=1)
    assert_same({name: arrays * 2 for name, arrays in numbers(one).items()}, numbers(two), rtol=1e-4, atol=1e-6)


def test_a_label_that_is_no_class_is_named():
    data = gluon.data.DataLoader(gluon.data.ArrayDataset(np.ones((4, 3), "float32"), np.array([0, 1, 3, 2])), 4)
    with pytest.raises(ValueError, match=r"CenterLoss: `label` must be a whole number in \[0, 2\], got 3.* in row 0"):
        made(2).fit(data, epochs=1)
