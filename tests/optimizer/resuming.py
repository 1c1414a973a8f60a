"""Trainings that can be stopped after two epochs and taken up again by a new process, which runs this file."""
import sys

import mxnet as mx
import numpy as np

from tests import center_training as training

LOSS = {"alpha": 0.4, "weight": 0.3}
NUMBERS = (1, 2, 3, 4)
APIS = ("module", "gluon")


def settings():
    return {"base": "sgd", "momentum": 0.9, "lr_scheduler": mx.lr_scheduler.FactorScheduler(3, 0.7, base_lr=0.3)}


def warm_up(epoch):
    return 0.1 * (1 + min(epoch, 2))


def updater(module):
    return module._kvstore._updater if module._update_on_kvstore else module._updater


def run(api, number, path, epochs, resume=False):
    """Train the `epochs`, beginning with what is at `path` if `resume`, save there, and return all that has moved."""
    return (run_module if api == "module" else run_gluon)(number, "{}/{}{}".format(path, api, number), epochs, resume)


def run_module(number, path, epochs, resume):
    made, block = training.module(number, dtype="float32", init=False, **LOSS)
    if resume:
        _, arguments, states = mx.model.load_checkpoint(path, epochs[0])
        made.init_params(arg_params=arguments, aux_params=states, force_init=True)
    made.init_optimizer("device", "withcenters", settings())
    if resume:
        with open(path + ".states", "rb") as file:
            updater(made).set_states(file.read())
    for epoch in epochs:
        block.set_weight(warm_up(epoch), made)
        for data, label in training.batches():
            training.step_module(made, data, label, "float32")
    made.save_checkpoint(path, epochs[-1] + 1)
    with open(path + ".states", "wb") as file:
        file.write(updater(made).get_states(dump_optimizer=True))
    return flat(training.module_state(made, block))


def run_gluon(number, path, epochs, resume):
    made = training.net(number, dtype="float32", **LOSS)
    if resume:
        made.load_parameters(path + ".params", ctx=training.devices(number))
    trainer = training.trainer(made, params=settings())
    if resume:
        trainer.load_states(path + ".states")
    for epoch in epochs:
        made.center_loss.weight = warm_up(epoch)
        for data, label in training.batches():
            training.step_net(made, trainer, data, label, dtype="float32")
    made.save_parameters(path + ".params")
    trainer.save_states(path + ".states")
    return flat(training.net_state(made))


def flat(state):
    weights, centers, counts = state
    return dict(weights, centers=centers, counts=counts)


if __name__ == "__main__":
    folder = sys.argv[1]
    for each in APIS:
        for devices in NUMBERS:
            moved = run(each, devices, folder, [2, 3], resume=True)
            np.savez("{}/resumed_{}{}.npz".format(folder, each, devices), **moved)
    mx.nd.waitall()
