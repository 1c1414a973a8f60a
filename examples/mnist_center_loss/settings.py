"""How to train, the same for every network and for both APIs."""
import signal
from pathlib import Path
from typing import NamedTuple

import mxnet as mx
from mxnet.executor_manager import _split_input_slice  # the rule by which Module shares a batch out to devices

import mxloss
from mxloss.checkpoint import Folder
from mxloss.stop import NotFinite, Target

from .output import lines_go_to
from .problem import Interrupted, Problem
from .workers import Workers

# The gradient of the center loss grows with the distance to the center: without a bound, small batches diverge.
CLIP = 0.1
HISTOGRAMS = 200  # batches between two distributions of the weights for TensorBoard


class Settings(NamedTuple):
    """How to train."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    wd: float
    seed: int
    contexts: list
    workers: Workers = Workers()
    lr_steps: tuple = ()  # epochs after which the learning rate falls; none: it falls along a cosine
    lr_factor: float = 0.1
    hybridize: bool = False
    targets: tuple = ()  # pairs of a loss and the value that ends the training
    resume: bool = False
    interrupt_at: int = 0  # an epoch, from 1
    tensorboard: str = ""

    def optimizer_params(self, batches):
        """What the optimizer `withcenters` is made with; an epoch has that many batches."""
        if self.lr_steps:
            scheduler = mx.lr_scheduler.MultiFactorScheduler([epoch * batches for epoch in self.lr_steps],
                                                             self.lr_factor, base_lr=self.lr)
        else:
            scheduler = mx.lr_scheduler.CosineScheduler(self.epochs * batches, base_lr=self.lr, final_lr=self.lr / 100)
        return {"base": "sgd", "learning_rate": self.lr, "momentum": self.momentum, "wd": self.wd,
                "clip_gradient": CLIP, "lr_scheduler": scheduler}

    def fit_options(self, folder, name, losses):
        """What `mxloss.fit` and `Estimator.fit` take alike.

        Args:
            folder: of all that is written.
            name: of the network.
            losses: names of its losses.
        """
        return {"stop": [NotFinite(every=20), NotFinite(every="epoch")] + [
                    Target(loss, value, direction="min") for loss, value in self.targets if loss in losses],
                "checkpoint": checkpoints(folder, name), "resume": self.resume, "seed": self.seed,
                "stop_on_signal": True}

    def watchers(self, api, folder, name):
        """What shows and writes the values of a training; worker 0 alone does.

        Args:
            api: `mxloss.callback` or `mxloss.estimator`, whose watchers have the same names.
            folder, name: as in `fit_options`.
        """
        if self.workers.rank:
            return []
        watchers = [api.ProgressBar(name, stream=lines_go_to()),
                    api.MetricsFile(folder / "metrics.jsonl", fields={"model": name})]
        if self.tensorboard:
            watchers.append(api.TensorBoard(Path(self.tensorboard) / name, histograms=HISTOGRAMS))
        return watchers

    def interrupt(self, epoch, batch, batches):
        """Send the signal that Ctrl-C sends, in the middle of the epoch `interrupt_at`."""
        if (epoch + 1, batch) == (self.interrupt_at, batches // 2):
            signal.raise_signal(signal.SIGINT)


def checkpoints(folder, name, workers=None):
    """Where the checkpoints of a network are, or those of worker 0; the last whole epoch is among the last two."""
    path = folder / "checkpoints" / name
    return Folder(path / "worker-0" if workers is not None and workers.count > 1 else path, keep=2)


def ended(name, outcome):
    """Tell how the training of a network has ended.

    Raises:
        Problem: it diverged.
        Interrupted: a signal has ended it.
    """
    if outcome.reason == "not_finite":
        raise Problem("the training of {} diverged ({} is not finite in epoch {}): choose a smaller --lr or "
                      "--weight".format(name, outcome.name, outcome.epoch + 1))
    if outcome.reason == "signal":
        raise Interrupted(outcome.exit_code)
    if outcome.reason == "target":
        print("{}: {} reached {:.4f} in epoch {}".format(name, outcome.name, outcome.value, outcome.epoch + 1),
              flush=True)


def batches(image, label, label_names, settings, *, shuffle=False):
    """An iterator over all samples, whose batches Module can share out to the devices."""
    return mxloss.io.ArrayIter(image, label, settings.batch_size, shuffle=shuffle, seed=settings.seed,
                               label_name=tuple(label_names),
                               min_batch=smallest(len(label), settings.batch_size, len(settings.contexts)))


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
