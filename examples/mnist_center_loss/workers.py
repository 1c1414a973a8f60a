"""Several workers: who this one is, which part of the images is its own, and a kvstore that two models can share."""
import os
from typing import NamedTuple

import mxnet as mx

from .problem import Problem

HOW = "run it by: python -m examples.mnist_center_loss.launch -n 2 [options]"


class Workers(NamedTuple):
    """This worker among all of them.

    Attributes:
        rank: of this worker, from 0; worker 0 alone writes and prints.
        count: how many there are.
        kvstore: 'local' or 'device', or MXNet's kvstore of all workers.
    """

    rank: int = 0
    count: int = 1
    kvstore: object = "device"

    def store(self, model):
        """The kvstore for the model of that number, from 0."""
        return self.kvstore if isinstance(self.kvstore, str) else Scoped(self.kvstore, model)


def connect(kind, environ=os.environ):
    """Meet the other workers, if `kind` is that of a parameter server.

    Raises:
        Problem: this process is no worker of one.
    """
    if not kind.startswith("dist"):
        return Workers(kvstore=kind)
    if environ.get("DMLC_ROLE") != "worker":
        raise Problem("--kvstore {} needs a parameter server: {}".format(kind, HOW))
    environ["MXNET_UPDATE_ON_KVSTORE"] = "0"  # a server cannot move centers
    kvstore = mx.kv.create(kind)
    return Workers(kvstore.rank, kvstore.num_workers, kvstore)


def own_part(data, workers):
    """The training images of this worker: no two have one in common, and all have as many, so that none waits."""
    common = len(data.train_label) // workers.count * workers.count
    if not common:
        raise Problem("{} workers cannot share {} training images".format(workers.count, len(data.train_label)))
    rows = slice(workers.rank, common, workers.count)
    return data._replace(train_image=data.train_image[rows], train_label=data.train_label[rows])


class Scoped(mx.kvstore.KVStore):
    """A kvstore whose keys are those of one model: the servers keep what they were once given under a key."""

    def __init__(self, kvstore, model):
        super().__init__(kvstore.handle)
        self._owner, self._model = kvstore, model

    def __del__(self):
        """The handle is the owner's to free."""

    def _keys(self, key):
        if isinstance(key, (list, tuple)):
            return [self._keys(one) for one in key]
        return "model{}:{}".format(self._model, key)

    def init(self, key, value):
        """As the owner's."""
        super().init(self._keys(key), value)

    def broadcast(self, key, value, out, priority=0):
        """As the owner's."""
        super().broadcast(self._keys(key), value, out, priority)

    def push(self, key, value, priority=0):
        """As the owner's."""
        super().push(self._keys(key), value, priority)

    def pull(self, key, out=None, priority=0, ignore_sparse=True):
        """As the owner's."""
        super().pull(self._keys(key), out, priority, ignore_sparse)

    def pushpull(self, key, value, out=None, priority=0):
        """As the owner's."""
        super().pushpull(self._keys(key), value, out, priority)
