"""One worker of several: trains each case on its own share of each batch and compares with the oracle of all shares.

Run by `tests/optimizer/test_dist.py` under `mxloss.launch`.
"""
import sys

import mxnet as mx
import numpy as np

from tests import center_training as training
from tests import schedule_training
from tests.oracle import Oracle, assert_agree

LOSS = {"alpha": 0.4, "weight": 0.3}


def share(kvstore, data, label):
    return data[kvstore.rank::kvstore.num_workers], label[kvstore.rank::kvstore.num_workers]


def oracle(sizes=training.SIZES):
    wanted = Oracle(training.initial_weights(), training.NUM_CLASS, momentum=0.9, **LOSS)
    for data, label in training.batches(sizes):
        wanted.step(data, label, lr=0.3, rescale=1 / 12)
    return wanted


def train_module(kvstore, number):
    weights = training.initial_weights(3 + kvstore.rank)  # those of the first worker are the ones to train with
    made, block = training.module(number, 12 // kvstore.num_workers, weights=weights, kvstore=kvstore, **LOSS)
    for data, label in training.batches():
        training.step_module(made, *share(kvstore, data, label))
    assert_agree(oracle(), *training.module_state(made, block))


def train_gluon(kvstore, number, sizes=training.SIZES):
    made = training.net(number, hybridize=number == 2, **LOSS)
    trainer = training.trainer(made, kvstore, update_on_kvstore=False)
    for data, label in training.batches(sizes):
        training.backward_net(made, *share(kvstore, data, label))
        trainer.step(12)
    assert_agree(oracle(sizes), *training.net_state(made))


def train_schedule_module(kvstore, number):
    """Each worker counts the steps that all of them take."""
    made = schedule_training.module(number, kvstore, batch_size=6 // kvstore.num_workers)
    for data, label in schedule_training.batches():
        made._optimizer.rescale_grad = 1 / len(label)
        made.forward_backward(schedule_training.batch(*share(kvstore, data, label)))
        made.update()
    np.testing.assert_allclose(made.get_params()[0]["score_weight"].asnumpy(), schedule_training.oracle()[0],
                               rtol=1e-6, atol=1e-6)


def train_schedule_gluon(kvstore, number):
    made = schedule_training.whole(number)
    trainer = schedule_training.trainer(made, kvstore=kvstore, update_on_kvstore=False)
    for data, label in schedule_training.batches():
        schedule_training.backward(made, *share(kvstore, data, label))
        trainer.step(len(label))
    np.testing.assert_allclose(made.score.weight.list_data()[0].asnumpy(), schedule_training.oracle()[0],
                               rtol=1e-6, atol=1e-6)


def main():
    case, number = sys.argv[1], int(sys.argv[2])
    kvstore = mx.kv.create("dist_sync")
    if case == "module":
        train_module(kvstore, number)
    elif case == "schedule_module":
        train_schedule_module(kvstore, number)
    elif case == "schedule_gluon":
        train_schedule_gluon(kvstore, number)
    elif case == "gluon":
        train_gluon(kvstore, number)
    else:  # the first step: nothing is read before it
        train_gluon(kvstore, number, sizes=(12,))
    print("agrees", case, number)


if __name__ == "__main__":
    main()
