"""A training with everything that a resumed one could lose: dropout, shuffling, momentum, schedule, states, metrics.

``python -m tests.train.runs FOLDER DEVICES STOP`` trains in a process of its own and writes what it has reached to
FOLDER/reached.pickle; STOP is a number of batches, ``end``, or for those who want to interrupt it, and are told by a
line when there is something to interrupt: ``signal``, ``stuck`` (in a batch) or ``kill`` (checkpoints at each batch).
Under `mxloss.launch` it is one of several workers, each with its share of the samples; the last of them stops.
"""
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import mxnet as mx
import numpy as np

import mxloss

from ..stopping import After

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, BATCH, FEATURES, CLASSES = 31, 8, 5, 3  # the last batch of an epoch is short, and has enough for 4 devices
BATCHES = 4


def samples(number=SAMPLES, seed=3):
    rng = np.random.RandomState(seed)
    label = rng.randint(0, CLASSES, number)
    return rng.normal(0, 1, (number, FEATURES)) + label[:, None], label


def train_data(number=SAMPLES, batch_size=BATCH):
    return mxloss.io.ArrayIter(*samples(number), batch_size, shuffle=True, seed=6)


def validation_data():
    return mxloss.io.ArrayIter(*samples(13, seed=4), BATCH, shuffle=True)


def network(dropout=0.5, exact=False):
    """Two losses; the centers are an auxiliary state, or with `exact` the parameter of a `CenterLoss`."""
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    hidden = mx.sym.FullyConnected(data, num_hidden=6, name="hidden")
    hidden = mx.sym.tanh(mx.sym.BatchNorm(hidden, name="norm", fix_gamma=False))
    if dropout:
        hidden = mx.sym.Dropout(hidden, p=dropout, name="dropout")
    feature = mx.sym.FullyConnected(hidden, num_hidden=2, name="feature")
    output = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(feature, num_hidden=CLASSES, name="output"), label,
                                  name="softmax")
    if exact:
        center = mxloss.CenterLoss(CLASSES, 2, weight=0.1, prefix="center_loss_")(feature, label)
    else:
        center = mx.sym.Custom(data=feature, label=label, op_type="centerloss", num_class=CLASSES, alpha=0.5,
                               scale=0.1, name="center")
    return mx.sym.Group([output, mx.sym.MakeLoss(center, name="center_loss")])


def module(devices=1, **options):
    return mx.mod.Module(network(**options), context=[mx.cpu(i) for i in range(devices)])


def fit(made, path=None, *, epochs=3, seed=5, data=None, metric=None, **options):
    """`mxloss.fit` of a module, with the training above unless `options` say something else."""
    schedule = mx.lr_scheduler.FactorScheduler(step=3, factor=0.8, base_lr=0.3)
    given = {"optimizer": "sgd", "kvstore": "device",
             "optimizer_params": {"learning_rate": 0.3, "momentum": 0.9, "lr_scheduler": schedule}}
    return mxloss.fit(made, data or train_data(), validation_data(), metric or mxloss.metric.from_symbol(made.symbol),
                      num_epoch=epochs, seed=seed, checkpoint=path, **dict(given, **options))


class Seen:
    """What callbacks have seen: values after each batch, and after each validation."""

    def __init__(self):
        self.train, self.validation = {}, {}

    def __call__(self, param):
        self.train[param.epoch, param.nbatch] = dict(param.eval_metric.get_global_name_value())

    def validated(self, param):
        self.validation[param.epoch] = dict(param.eval_metric.get_global_name_value())

    def close(self):
        pass


def numbers(made):
    """Every number that the training of a module has changed, by name."""
    mx.nd.waitall()
    group = made._exec_group
    found = {}
    for kind, names, arrays in (("arg", group.param_names, group.param_arrays),
                                ("aux", group.aux_names, group.aux_arrays)):
        for name, parts in zip(names, arrays):
            found.update({"{} {} {}".format(kind, name, i): part.asnumpy() for i, part in enumerate(parts)})
    updater = made._kvstore._updater if made._update_on_kvstore else made._updater
    for key, state in updater.states.items():
        for i, part in enumerate(state if isinstance(state, (tuple, list)) else [state]):
            if part is not None:
                found["state {} {}".format(key, i)] = part.asnumpy()
    found["num_update"] = np.array(made._optimizer.num_update)
    found["learning_rate"] = np.array(made._optimizer.learning_rate)
    return found


def assert_equal(one, other):
    assert sorted(one) == sorted(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_close(one, other, tolerance=1e-6):
    assert sorted(one) == sorted(other)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=tolerance, atol=tolerance, err_msg=name)


def process(folder, devices, stop, **options):
    """This module in a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    return subprocess.Popen([sys.executable, "-m", "tests.train.runs", str(folder), str(devices), str(stop)],
                            cwd=str(ROOT), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(running, code=0):
    """Wait for the end of a process."""
    try:
        out, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == code, (out, err.decode()[-2000:])


def main(folder, devices, stop):
    folder, devices = Path(folder), int(devices)
    seen, made = Seen(), module(devices)
    options = {"resume": True, "watch": [seen]}
    rank, last = 0, True
    if "DMLC_ROLE" in os.environ:
        kvstore = mx.kv.create("dist_sync")
        rank, last = kvstore.rank, kvstore.rank == kvstore.num_workers - 1
        data, label = samples()
        options.update(kvstore=kvstore, data=mxloss.io.ArrayIter(
            data[rank:-1:kvstore.num_workers], label[rank:-1:kvstore.num_workers], BATCH // kvstore.num_workers,
            shuffle=True, seed=rank))
    if stop in ("signal", "stuck", "kill"):
        def pause(param):
            if param.nbatch == 1 and param.epoch < 100:
                print("started", flush=True)
            time.sleep({"signal": 0.02, "stuck": 60, "kill": 0}[stop] if param.nbatch else 0)

        checkpoints = mxloss.checkpoint.Folder(folder / "checkpoints", keep=1, every=1 if stop == "kill" else None)
        outcome = fit(made, checkpoints, epochs=10000, stop_on_signal=True, batch_end_callback=pause, **options)
    else:
        outcome = fit(made, folder / "checkpoints",
                      stop=After(int(stop)) if last and stop != "end" else None,
                      stop_on_signal=True, **options)
    reached = {"outcome": tuple(outcome), "numbers": numbers(made), "train": seen.train, "validation": seen.validation}
    (folder / "reached{}.pickle".format(rank or "")).write_bytes(pickle.dumps(reached))
    mx.nd.waitall()
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
