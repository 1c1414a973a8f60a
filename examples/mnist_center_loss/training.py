"""Train one network with `Module.fit`, keeping a checkpoint of the last full epoch and a record of every epoch."""
import contextlib
import json
import signal
import sys
import threading
import time
from typing import NamedTuple

import mxnet as mx
import numpy as np
from mxnet.executor_manager import _split_input_slice  # the rule by which Module shares a batch out to devices

import mxloss

from .output import whole, write_text
from .problem import Problem
from .progress import EpochBar, is_terminal, text, values
from .workers import Workers

# The gradient of the center loss grows with the distance to the center: without a bound, small batches diverge.
CLIP = 0.1


class Settings(NamedTuple):
    """How to train, the same for every network."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    wd: float
    seed: int
    contexts: list
    workers: Workers = Workers()

    def optimizer_params(self, batches):
        """What the optimizer `withcenters` is made with; an epoch has that many batches."""
        return {"base": "sgd", "learning_rate": self.lr, "momentum": self.momentum, "wd": self.wd,
                "clip_gradient": CLIP, "lr_scheduler": mx.lr_scheduler.CosineScheduler(
                    self.epochs * batches, base_lr=self.lr, final_lr=self.lr / 100)}


class Epochs:
    """What is done at the end of each epoch of one network, whichever way it is trained.

    Args:
        name: of the network.
        net: its Symbol.
        data: a `DataSet`.
        folder: where the checkpoint goes, or None for none.
        record: a `Record`.
    """

    def __init__(self, name, net, data, folder, record):
        self.name, self.net, self.data, self.record = name, net, data, record
        self.keep = None if folder is None else Checkpoint(folder, name)
        record.start()

    def trained(self, epoch, arg_params, aux_params, losses):
        """Record and keep a full epoch, which is the number `epoch` from 1."""
        arrays = list(arg_params.values()) + list(aux_params.values())
        if not all(np.isfinite(array.asnumpy()).all() for array in arrays):
            raise diverged(self.name, "a weight is not finite after epoch {}".format(epoch))
        self.record.add(epoch, self.name, "train", losses, len(self.data.train_label))
        if self.keep:
            self.keep(epoch, self.net, arg_params, aux_params)
        self.record.start()

    def tested(self, epoch, losses):
        """Record the losses on the test images."""
        self.record.add(epoch, self.name, "test", losses, len(self.data.test_label))
        self.record.start()


def train(name, net, label_names, data, settings, epochs, stop, store):
    """Train a network with `Module`; its initial weights and the order of its batches depend on the seed alone.

    Args:
        name: of the network.
        net: a Symbol with the output ``softmax_output``.
        label_names: its label variables, each of which gets the labels.
        data: a `DataSet`.
        settings: `Settings`.
        epochs: `Epochs`.
        stop: an `Interrupt` that is on.
        store: kvstore, or what it is called.

    Returns:
        The trained parameters and auxiliary states.

    Raises:
        Problem: a loss is not finite any more.
    """
    train_data = batches(data.train_image, data.train_label, label_names, settings, shuffle=True)
    test_data = batches(data.test_image, data.test_label, label_names, settings)
    count = batch_count(len(data.train_label), settings.batch_size, len(settings.contexts))
    metric = mxloss.metric.from_symbol(net)
    bar = EpochBar(name, settings.epochs, count)
    module = mx.mod.Module(net, label_names=label_names, context=settings.contexts)
    mx.random.seed(settings.seed)
    with watched(name, bar):
        module.fit(train_data, test_data, eval_metric=metric, num_epoch=settings.epochs,
                   initializer=mx.init.Xavier(), kvstore=store,
                   optimizer="withcenters", optimizer_params=settings.optimizer_params(count),
                   batch_end_callback=[bar, stop], eval_batch_end_callback=stop,
                   epoch_end_callback=lambda epoch, _, *params: epochs.trained(epoch + 1, *params, values(metric)),
                   eval_end_callback=lambda param: epochs.tested(param.epoch + 1, values(param.eval_metric)))
    return module.get_params()


@contextlib.contextmanager
def watched(name, bar):
    """Take the bar away at the end, and tell what it means that a metric finds a loss not finite."""
    try:
        yield
    except ValueError as error:
        if "must be finite" not in str(error):  # what the metrics say of a loss
            raise
        raise diverged(name, error) from error
    finally:
        bar.close()


def diverged(name, what):
    """The problem that a network has become useless."""
    return Problem("the training of {} diverged ({}): choose a smaller --lr or --weight".format(name, what))


def batches(image, label, label_names, settings, *, shuffle=False):
    """An iterator over all samples, whose batches Module can share out to the devices."""
    return mxloss.io.ArrayIter(image, label, settings.batch_size, shuffle=shuffle, seed=settings.seed,
                               label_name=tuple(label_names),
                               min_batch=smallest(len(label), settings.batch_size, len(settings.contexts)))


def batch_count(samples, batch_size, devices):
    """How many batches an epoch has."""
    rest = samples % batch_size
    joined = samples > batch_size and 0 < rest < smallest(samples, batch_size, devices)
    return -(-samples // batch_size) - joined


def smallest(samples, batch_size, devices):
    """The `min_batch` with which no batch of an epoch leaves a device without a sample.

    Raises:
        Problem: there is none.
    """
    rest = samples % batch_size
    if shareable(min(samples, batch_size), devices):
        if samples <= batch_size or not rest or shareable(rest, devices):
            return 1
        if shareable(batch_size + rest, devices):
            return rest + 1
    raise Problem("{} devices cannot share {} images in batches of {}: choose a greater --batch-size or fewer "
                  "devices".format(devices, samples, batch_size))


def shareable(samples, devices):
    """Whether Module gives each device at least one of `samples`."""
    try:
        _split_input_slice(samples, [1] * devices)
    except ValueError:
        return False
    return True


class Checkpoint:
    """Keeps the last full epoch of a network, in the two files that `mx.model.load_checkpoint` reads.

    Attributes:
        epoch: what was kept, or None.
    """

    def __init__(self, folder, name):
        self.folder, self.name, self.epoch = folder, name, None

    def __call__(self, epoch, symbol, arg_params, aux_params):
        """Write both files, then remove the parameters of the epoch before."""
        arrays = {"arg:" + key: value for key, value in arg_params.items()}
        arrays.update({"aux:" + key: value for key, value in aux_params.items()})
        with whole(self.folder / (self.name + "-symbol.json")) as temporary:
            _saved(symbol.save, temporary)
        with whole(self._path(epoch)) as temporary:
            _saved(mx.nd.save, temporary, arrays)
        if self.epoch is not None:
            with contextlib.suppress(OSError):
                self._path(self.epoch).unlink()
        self.epoch = epoch

    def _path(self, epoch):
        return self.folder / "{}-{:04d}.params".format(self.name, epoch)


def _saved(save, path, *arguments):
    """Save by MXNet, whose errors are not the system's."""
    try:
        save(str(path), *arguments)
        if arguments:
            mx.nd.load(str(path))  # MXNet does not notice that a full disk cut the end off
    except mx.base.MXNetError as error:
        raise OSError(str(error).strip().splitlines()[-1]) from error


class Record:
    """Writes a line per epoch, model and split to ``metrics.jsonl``, and prints it.

    Args:
        path: the file, or None: then nothing is written or printed.
        epochs: how many epochs there will be.
        clock: seconds that only grow.
        terminal: whether a bar shows the training, so that its lines need not be printed.
    """

    def __init__(self, path, epochs, *, clock=time.monotonic, terminal=None):
        self.path, self.epochs, self.clock = path, epochs, clock
        self.terminal = is_terminal(sys.stderr) if terminal is None else terminal
        self.lines = []
        self.started = clock()

    def start(self):
        """Start the time of the next line."""
        self.started = self.clock()

    def add(self, epoch, model, split, losses, samples):
        """Write the line of an epoch: its losses by name, and its speed since `start`."""
        if self.path is None:
            return
        speed = samples / max(self.clock() - self.started, 1e-9)
        row = {"epoch": epoch, "model": model, "split": split}
        row.update(losses)
        row["samples_per_second"] = round(speed, 1)
        self.lines.append(json.dumps(row) + "\n")
        write_text(self.path, "".join(self.lines))
        if split != "train" or not self.terminal:
            print("{} epoch {}/{} {}: {} ({:.0f} samples/s)".format(
                model, epoch, self.epochs, split, text(losses), speed), flush=True)


class Interrupt:
    """Lets Ctrl-C end the training between two batches, where nothing is half done: a batch-end callback.

    MXNet calls Python from C++, where an exception would be printed and forgotten. A second Ctrl-C does not wait.
    """

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self.before = None
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind, error, trace):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
        if kind is None:
            self()

    def __call__(self, param=None):
        """Raise KeyboardInterrupt if somebody pressed Ctrl-C."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
