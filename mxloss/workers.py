"""Several workers that train together: each has its checkpoints, and they end and go on together."""
import copy
import itertools
import os

import mxnet as mx
import numpy as np

from . import _check
from .stop import SIGNALS, Outcome

_numbers = itertools.count()


class Workers:
    """The workers of a kvstore; without a distributed one, this process is all of them.

    A batch of `dist_sync` takes all workers. So when one finds a reason to stop, the others have to stop at the same
    batch, or they would wait for it for ever; and all have to go on from the same place. They tell each other through
    keys of the kvstore, which their servers hold as they were pushed.

    Args:
        kvstore: what `Module.fit` takes; of a distributed one, the name is replaced by the kvstore itself.
        may_stop: whether there can be a reason to stop before the last epoch.
        saves: whether there will be checkpoints.
        servers_update: whether servers do, None for what the environment says.

    Attributes:
        rank: number of this worker, from 0.
        kvstore: what is to be handed on to the module.

    Raises:
        ValueError: `may_stop` or `saves` where the servers update, for then workers can neither agree nor save.
    """

    def __init__(self, kvstore, may_stop, saves, servers_update=None):
        kind = kvstore if isinstance(kvstore, str) else getattr(kvstore, "type", "")
        self.kvstore, self.rank, self.number = kvstore, 0, 1
        if "dist" not in kind:
            return
        if isinstance(kvstore, str):
            self.kvstore = mx.kv.create(kvstore)
        self.rank, self.number = self.kvstore.rank, self.kvstore.num_workers
        self._may_stop = may_stop
        # Servers outlive a training, and would take a second initial value of a key for what one worker pushes.
        self._name, self._held = "mxloss_workers_{}_".format(next(_numbers)), set()
        if servers_update is None:
            servers_update = int(os.getenv("MXNET_UPDATE_ON_KVSTORE", "1"))
        if (servers_update or "async" in kind) and (saves or (may_stop and self.number > 1)):
            _check.fail("fit", "checkpoint" if saves else "stop", "None where servers update: with 'dist_sync', and "
                        "MXNET_UPDATE_ON_KVSTORE=0 in the environment of each worker or update_on_kvstore=False of its "
                        "Trainer, the workers do", kind)

    def folder(self, folder):
        """The folder of this worker's checkpoints: `folder` itself where it is the only one."""
        if self.number == 1:
            return folder
        own = copy.copy(folder)
        own.path = folder.path / "worker-{}".format(self.rank)
        return own

    def common(self, place):
        """The earliest of the places, pairs of epoch and batch, that the workers call with; None if one has none."""
        if self.number == 1:
            return place
        mine = np.zeros((self.number, 2))
        mine[self.rank] = (-1, -1) if place is None else place
        earliest = min(map(tuple, self._added("place", mine).astype(int).tolist()))
        return None if earliest < (0, 0) else earliest

    def agree(self, outcome, epoch, batch):
        """`outcome`, or that of the others where this worker has none; to be called by all at the same batch."""
        if self.number == 1 or not self._may_stop:
            return outcome
        signal = outcome and outcome.signal
        votes = self._added("stop", [outcome is not None and signal is None] + [
            number == signal for number in SIGNALS])
        if outcome is not None or not votes.any():
            return outcome
        for number, count in zip(SIGNALS, votes[1:]):
            if count:
                return Outcome("signal", epoch, batch, signal=number)
        return Outcome("worker", epoch, batch)

    def _added(self, key, mine):
        """The sum of what all workers call with."""
        mine, key = mx.nd.array(np.asarray(mine, dtype="float32")), self._name + key
        if key not in self._held:
            self.kvstore.init(key, mx.nd.zeros_like(mine))
            self._held.add(key)
        self.kvstore.push(key, mine)
        self.kvstore.pull(key, out=mine)
        return mine.asnumpy()
