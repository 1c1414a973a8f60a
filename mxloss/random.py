"""Random numbers that depend on where the training is and not on how it came there.

Usage::

    mxloss.random.seed(1, epoch, batch)     # before each batch: a resumed run draws what the other would have drawn
"""
import json
import random

import mxnet as mx
import numpy as np

from . import _check


def seed(seed, epoch=0, batch=0, worker=0, *, mxnet=True):
    """Seed the generators of Python, NumPy and MXNet from a place in the training.

    MXNet's generators can be seeded and not read, so no checkpoint can keep them: a run that seeds at each batch needs
    none. Seeding MXNet takes the engine about 1.3 ms, which matters where a batch takes as little.

    Args:
        seed: whole number >= 0 of the run.
        epoch: from 0.
        batch: from 0 in its epoch.
        worker: rank of this process, so that the workers of one training draw different numbers.
        mxnet: whether to seed MXNet's generators, of all devices, beside the others.

    Examples:
        >>> seed(7, epoch=2, batch=5)
        >>> one = mx.nd.random.uniform(shape=3).asnumpy(), np.random.rand()
        >>> seed(7, epoch=2, batch=5)
        >>> (one[0] == mx.nd.random.uniform(shape=3).asnumpy()).all() and one[1] == np.random.rand()
        True
    """
    place = [_check.integer("seed", name, value, low=0)
             for name, value in (("seed", seed), ("epoch", epoch), ("batch", batch), ("worker", worker))]
    numbers = np.random.SeedSequence(place).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    if mxnet:
        mx.random.seed(int(numbers[2] >> 1))  # MXNet takes 31 bits


# What the names of MXNet's operators that draw begin with. `_npi_` has others too: seeding for nothing does no harm.
_DRAWING = ("Dropout", "_npx_dropout", "_random_", "_sample_", "random_", "sample_", "_shuffle", "_npi_",
            "_image_random", "_npx__image_random", "_contrib_dgl")
_OWN = ("centerloss", "smooth_l1_loss")


def draws(symbol):
    """Whether a network draws random numbers, as Dropout does; a custom operator of others counts as if it did.

    Examples:
        >>> data = mx.sym.var('data')
        >>> draws(mx.sym.FullyConnected(data, num_hidden=2)), draws(mx.sym.Dropout(data))
        (False, True)
    """
    return _draws(json.loads(symbol.tojson()))


def _draws(graph):
    for node in graph["nodes"]:
        op, options = node["op"], node.get("attrs", {})
        if (op.startswith(_DRAWING)
                or (op == "Custom" and options.get("op_type") not in _OWN)
                or (op == "RNN" and float(options.get("p", 0)) > 0)
                or (op == "LeakyReLU" and options.get("act_type") == "rrelu")
                or any(_draws(inner) for inner in node.get("subgraphs", ()))):
            return True
    return False
