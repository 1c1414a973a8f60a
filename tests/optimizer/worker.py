"""One worker of several: trains each case on its own share of each batch and compares with the oracle of all shares.

Run by `tests/optimizer/test_dist.py` under `mxloss.launch`.
"""
import sys

import mxnet as mx

from tests import center_training as training
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


def main():
    case, number = sys.argv[1], int(sys.argv[2])
    kvstore = mx.kv.create("dist_sync")
    if case == "module":
        train_module(kvstore, number)
    elif case == "gluon":
        train_gluon(kvstore, number)
    else:  # the first step: nothing is read before it
        train_gluon(kvstore, number, sizes=(12,))
    print("agrees", case, number)


if __name__ == "__main__":
    main()
