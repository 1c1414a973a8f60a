"""Random numbers that depend on seed, epoch, batch and worker, and on nothing that was drawn before."""
import random

import mxnet as mx
import numpy as np
import pytest

import mxloss


def drawn():
    return random.random(), np.random.rand(), float(mx.nd.random.uniform(shape=1).asscalar())


def test_a_place_has_its_numbers_whatever_was_drawn_before():
    mxloss.random.seed(3, epoch=1, batch=2, worker=1)
    one = drawn()
    for _ in range(5):
        drawn()
    mxloss.random.seed(3, epoch=1, batch=2, worker=1)
    assert drawn() == one


def test_no_two_places_share_theirs():
    """(1, 2) is not (2, 1), nor seed 1 and epoch 0 what seed 0 and epoch 1 is."""
    places = [(seed, epoch, batch, worker) for seed in range(3) for epoch in range(3) for batch in range(3)
              for worker in range(2)]
    seen = [set(), set(), set()]
    for seed, epoch, batch, worker in places:
        mxloss.random.seed(seed, epoch=epoch, batch=batch, worker=worker)
        for numbers, number in zip(seen, drawn()):
            numbers.add(number)
    assert [len(numbers) for numbers in seen] == [len(places)] * 3


def test_devices_draw_different_numbers():
    mxloss.random.seed(3)
    one, other = (mx.nd.random.uniform(shape=4, ctx=mx.cpu(device)).asnumpy() for device in range(2))
    assert (one != other).any()


def test_mxnets_generator_is_left_alone_when_asked():
    mx.random.seed(1)
    expected = float(mx.nd.random.uniform(shape=1).asscalar())
    mx.random.seed(1)
    mxloss.random.seed(5, mxnet=False)
    python, numpy, mxnet = drawn()
    assert mxnet == expected
    mxloss.random.seed(5)
    assert drawn()[:2] == (python, numpy)


@pytest.mark.parametrize("name", ["seed", "epoch", "batch", "worker"])
@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_what_is_no_place_is_told(name, value, error):
    with pytest.raises(error, match="seed: `{}` must be a whole number".format(name)):
        mxloss.random.seed(**dict({"seed": 1}, **{name: value}))


DATA = mx.sym.var("data")


@pytest.mark.parametrize(("symbol", "expected"), [
    (mx.sym.FullyConnected(DATA, num_hidden=2), False),
    (mx.sym.BatchNorm(mx.sym.Convolution(DATA, kernel=(1, 1), num_filter=2)), False),
    (mx.sym.Dropout(DATA), True),
    (mx.sym.Activation(mx.sym.Dropout(DATA), act_type="relu"), True),
    (mx.sym.LeakyReLU(DATA, act_type="leaky"), False),
    (mx.sym.LeakyReLU(DATA, act_type="rrelu"), True),
    (mx.sym.RNN(DATA, mx.sym.var("p"), mx.sym.var("s"), state_size=2, num_layers=1, mode="rnn_tanh"), False),
    (mx.sym.RNN(DATA, mx.sym.var("p"), mx.sym.var("s"), state_size=2, num_layers=2, mode="rnn_tanh", p=0.5), True),
    (DATA + mx.sym.random.normal(shape=(2, 2)), True),
    (mx.sym.sample_uniform(DATA, DATA), True),
    (mx.sym.shuffle(DATA), True),
    (mx.sym.Custom(DATA, mx.sym.var("label"), op_type="centerloss", num_class=2), False),
    (mx.sym.contrib.foreach(lambda x, s: (mx.sym.Dropout(x), s), DATA, [])[0], True),
    (mx.sym.contrib.foreach(lambda x, s: (x + 1, s), DATA, [])[0], False),
])
def test_networks_that_draw_are_known(symbol, expected):
    assert mxloss.random.draws(symbol) is expected
