"""Penalties that a block of the network adds to the loss while it computes.

Usage::

    class Encoder(gluon.HybridBlock):                      # any block of your own
        def hybrid_forward(self, F, x):
            mean, log_variance = self.mean(x), self.log_variance(x)
            kl = 0.5 * (mean ** 2 + log_variance.exp() - 1 - log_variance).sum(axis=1)
            mxloss.add_penalty(self, 'kl', kl)             # one number per sample
            return mean

    net = mxloss.WithPenalties(network)                    # this is called, hybridized and exported
    outputs, penalties = net(data)                         # penalties: {'kl': (batch,)}
    total, parts = losses(net(data), label)                # a LossGroup adds them to its total and its parts

In a hybridized graph only what is returned exists: so penalties travel as extra outputs of the one wrapper.
"""
import collections
import contextlib
import threading

import mxnet as mx
from mxnet import gluon

from .. import _check

Penalized = collections.namedtuple("Penalized", ["outputs", "penalties"])
Penalized.__doc__ = """What a `WithPenalties` returns: outputs of the network, and a dict of the penalties by name."""

_thread = threading.local()


def add_penalty(block, name, value):
    """Add a penalty to the loss of the network that `block` stands in; to be called while the block computes.

    What one block adds several times under one name, as one that is used twice, is added up.

    Args:
        block: the block that adds it.
        name: what the penalty is called in reports.
        value: one number per sample, ``(batch,)``, array or symbol, with whatever weight it has.

    Raises:
        ValueError: the block does not compute inside a `WithPenalties`; another block's penalty has that name.

    Examples:
        >>> class Square(mx.gluon.HybridBlock):
        ...     def hybrid_forward(self, F, x):
        ...         add_penalty(self, 'size', x.abs().sum(axis=1))
        ...         return x ** 2
        >>> outputs, penalties = WithPenalties(Square())(mx.nd.array([[3., 4.], [0., -1.]]))
        >>> penalties['size'].asnumpy()
        array([7., 1.], dtype=float32)
    """
    collected = getattr(_thread, "collected", None)
    if collected is None:
        _check.fail(block.name, "penalty " + name, "added inside a WithPenalties, which is what has to be called, "
                    "hybridized and exported", "a call outside of it")
    collected.add(block, name, value)


class WithPenalties(gluon.HybridBlock):
    r"""Return the outputs of a network together with the penalties that its blocks add while they compute.

    Args:
        net: the network, a hybrid block. Save and load its parameters by it or by the wrapper, as you like.

    Inputs:
        - what the network takes.

    Outputs:
        - **outputs**: what the network returns.
        - **penalties**: dict of one number per sample by name, each ``(batch,)``. In an exported symbol they are the
          last outputs, named ``<name>_penalty_output``.

    Raises:
        ValueError: a block that adds a penalty was hybridized apart from the wrapper, so that its penalty is lost.

    Examples:
        >>> net = WithPenalties(mxloss.ActivityPenalty(weight=0.1, order=1))
        >>> net.hybridize()
        >>> outputs, penalties = net(mx.nd.array([[3., -4.], [0., 1.]]))
        >>> penalties['activity'].asnumpy()
        array([0.7, 0.1], dtype=float32)
    """

    def __init__(self, net, prefix="", params=None):
        super().__init__(prefix=prefix, params=params)
        if not isinstance(net, gluon.HybridBlock):
            _check.fail("WithPenalties", "net", "a hybrid block", net, TypeError)
        self.net = net
        self._names = []

    def forward(self, *inputs):
        """The outputs and the penalties; see the class."""
        outputs, values = super().forward(*inputs)
        penalties = dict(zip(self._names, values))
        for name, value in penalties.items():
            if isinstance(value, mx.nd.NDArray):
                _check.rank("WithPenalties", "penalty " + name, value.shape, 1, "(batch,)")
        return Penalized(outputs, penalties)

    def hybrid_forward(self, F, *inputs):
        """Open the collection, let the network compute, and return what was collected beside its outputs."""
        with _collecting(F) as collected:
            outputs = self.net(*inputs)
        # A graph of its own calls no Python from its second run on: what came once has to come every time.
        lost = [name for name in list(collected.traced) + self._names if name not in collected.values]
        if lost:
            self._names += [name for name in collected.traced if name not in self._names]
            _check.fail("WithPenalties", "penalty " + lost[0], "added in each pass: hybridize the wrapper, no block "
                        "inside of it that adds penalties", "none")
        self._names = list(collected.values)
        if F is mx.sym:
            return [outputs, [F.identity(value, name=name + "_penalty") for name, value in collected.values.items()]]
        return [outputs, list(collected.values.values())]


class _Collected:
    """The penalties of one pass."""

    def __init__(self, F):
        self.kind = mx.sym.Symbol if F is mx.sym else mx.nd.NDArray
        self.values, self.owners = {}, {}
        self.traced = set()  # names of symbols that came while arrays were computed

    def add(self, block, name, value):
        if isinstance(value, mx.sym.Symbol) and self.kind is mx.nd.NDArray:
            self.traced.add(name)  # harmless where the block only infers its shapes: the array comes next
            return
        if not isinstance(value, self.kind):
            _check.fail(block.name, "penalty " + name, "a " + self.kind.__name__ + " in this pass", value, TypeError)
        if self.owners.setdefault(name, block) is not block:
            _check.fail(block.name, "penalty " + name, "of another name than that of " + self.owners[name].name, name)
        self.values[name] = self.values[name] + value if name in self.values else value


@contextlib.contextmanager
def _collecting(F):
    if getattr(_thread, "collected", None) is not None:
        _check.fail("WithPenalties", "net", "without a WithPenalties inside: one, the outermost, collects for all",
                    "two")
    _thread.collected = _Collected(F)
    try:
        yield _thread.collected
    finally:
        _thread.collected = None
