"""Where a training is, and its data from there on."""
import mxnet as mx
from mxnet import gluon
from mxnet.gluon.contrib import estimator as stock

from .. import random
from .batch import arrays
from .loader import DataIterLoader


class Run(stock.EpochBegin, stock.BatchEnd):
    """Counts epochs and batches, for all handlers that come after it.

    Attributes:
        epoch: number of the epoch, from 0.
        batch: batches that were trained in it.
        step: batches that were trained in all.
        last: epoch and number of the last batch that was trained, both None if none was.
        whole: the epoch has no further batch.
        validated: there was a validation in this epoch.
    """

    priority = -3000

    def __init__(self, epoch=0, batch=0, step=0):
        self.epoch, self.batch, self.step = epoch, batch, step
        self.last = None, None
        self.whole = self.validated = self._begun = False
        self._counting = ()

    def take_over(self, handlers):
        """Let MXNet's own handlers, which count from 0 in each `fit`, count from where the run is."""
        self._counting = [handler for handler in handlers
                          if hasattr(handler, "current_epoch") or hasattr(handler, "current_batch")]

    def epoch_begin(self, estimator, *args, **kwargs):
        """Go on to the next epoch, unless this is the one to start from."""
        if self._begun:
            self.epoch, self.batch = self.epoch + 1, 0
        self._begun = True
        self.whole = self.validated = False
        for handler in self._counting:
            for name, value in (("current_epoch", self.epoch), ("current_batch", self.step),
                                ("batch_index", self.batch)):
                if hasattr(handler, name):
                    setattr(handler, name, value)
        self._counting = ()

    def batch_end(self, estimator, *args, **kwargs):
        """Count a batch."""
        self.last = self.epoch, self.batch
        self.batch += 1
        self.step += 1
        self.whole = self.batch == batches_in(estimator.feed)

    @property
    def place(self):
        """Number of the epoch and batch to go on with."""
        return (self.epoch + 1, 0) if self.whole else (self.epoch, self.batch)


class Feed(gluon.data.DataLoader):
    """The batches of a loader from where a run is to the end of the epoch, drawn as a seed says.

    Args:
        loader: `gluon.data.DataLoader`.
        run: the `Run`.
        net, losses, trainer: what is trained.
        seed: whole number, or None for random numbers that nobody seeds.
    """

    def __init__(self, loader, run, net, losses, trainer, seed):
        self.loader, self.run, self.seed = loader, run, seed
        self.net, self.losses, self.trainer = net, losses, trainer
        self._draws = None  # whether the network draws random numbers, once it is known
        self._resumed = run.step > 0

    def __iter__(self):
        epoch, begin = self.run.epoch, self.run.batch
        if isinstance(self.loader, DataIterLoader) and self.loader.can_seek:
            self._seed(epoch, begin, True)
            number, batches = begin, self.loader.seek(epoch, begin)
        else:
            if self._resumed and self.seed is not None:
                self._replay(epoch)
            self._seed(epoch, 0, True)
            number, batches = 0, iter(self.loader)
        self._resumed = False
        for batch in batches:
            if number >= begin:
                yield batch
                if self._draws is None and self.seed is not None:
                    # A DataLoader may draw with MXNet's generators too, our iterators and most others do not.
                    self._draws = not isinstance(self.loader, DataIterLoader) or \
                        isinstance(self.trainer.optimizer, mx.optimizer.SGLD) or draws(self.net, self.losses, batch)
            number += 1
            self._seed(epoch, number, self._draws)
        self.run.whole = True

    def _seed(self, epoch, batch, mxnet):
        """Seed what draws the next batch, and what is drawn while it is trained on."""
        if self.seed is not None:
            kvstore = self.trainer._kvstore
            worker = kvstore.rank if kvstore is not None and "dist" in kvstore.type else 0
            random.seed(self.seed, epoch, batch, worker, mxnet=mxnet is not False)

    def _replay(self, epochs):
        """Shuffle as often as the epochs before did, where an iterator shuffles what it has shuffled."""
        if isinstance(self.loader, DataIterLoader):
            for epoch in range(epochs):
                self._seed(epoch, 0, True)
                self.loader.data_iter.reset()

    def __len__(self):
        return len(self.loader)

    def __del__(self):
        """The loader ends its own workers."""


def draws(net, losses, batch):
    """Whether a network or its losses draw random numbers, as far as can be seen."""
    if not isinstance(net, gluon.HybridBlock):
        return True
    data, labels = ([mx.sym.var("{}{}".format(name, number)) for number in range(len(columns))]
                    for name, columns in zip(("data", "label"), arrays(batch)))
    try:
        total, _ = losses(net(*data), labels)
    except Exception:  # a loss that looks at numbers, or whatever a block of others may do to a symbol
        return True
    return random.draws(total)


def batches_in(loader):
    """How many batches an epoch has, None if nobody knows."""
    try:
        return len(loader)
    except TypeError:
        return None
