"""Labels that a network guards in its graph, checked on the host, where they are inputs of it."""
import mxnet as mx

from .. import _check
from ..functional import guards


class Labels:
    """The guarded labels of a network.

    To read a label waits for nothing, where to wait for gradients is to let the engine run dry.

    Args:
        symbol: the network.
        inputs: names of what it is given in each pass, data and labels.

    Attributes:
        seen: rules (see `mxloss.functional.guards`) of those that are inputs of the network.
        unseen: rules of those that it computes, and of other guards.
    """

    def __init__(self, symbol, inputs):
        found = guards(symbol)
        self.seen = [rule for rule in found if rule.get("label") in inputs and _can_be_said(rule)]
        self.unseen = [rule for rule in found if rule not in self.seen]
        self._inside = symbol.get_internals() if self.seen else None
        self._num_class = {}

    def check(self, inputs):
        """Raise the error that names the label which is no class; `inputs` are those of the network by name."""
        shapes = {name: array.shape for name, array in inputs.items()}
        key = tuple(shapes.items())
        if key not in self._num_class:
            _, found, _ = self._inside.infer_shape_partial(**shapes)
            self._num_class[key] = [rule["first"] + found[rule["pred"]][rule["axis"]] for rule in self.seen]
        for rule, num_class in zip(self.seen, self._num_class[key]):
            _check.classes(rule["who"], inputs[rule["label"]].asnumpy(), num_class, *_beside(rule))


def come_to_rest():
    """Wait for everything, so that an error of the engine's does not come again in the next batch."""
    try:
        mx.nd.waitall()
    except Exception:
        pass


def _beside(rule):
    """What is allowed beside whole numbers from 0 on."""
    return set(rule["allowed"]) - set(range(rule["first"]))


def _can_be_said(rule):
    return set(range(rule["first"])) <= set(rule["allowed"]) and len(_beside(rule)) <= 1
