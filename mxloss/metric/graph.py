"""The heads of a symbol: which operators they are, which outputs show them, and where their labels come from."""
import ast
import json

import numpy as np

from .. import _check
from .head import HEADS

KEEPING_ORDER = ("Reshape", "Flatten", "expand_dims", "squeeze", "reshape_like", "_copy", "Cast")
CHANGING_ORDER = ("transpose", "SwapAxis")
SHAPE_ONLY = KEEPING_ORDER + CHANGING_ORDER
ELEMENTWISE = ("MakeLoss", "make_loss", "centerloss")


class GraphHead:
    """A head of the graph.

    Args:
        op: its operator, a key of `HEADS`.
        name: the name of its node.
        arguments: what `Loss` and the measures need to read it: names, operators to apply, options.
    """

    def __init__(self, op, name, arguments):
        self.op, self.name, self.arguments = op, name, arguments


class Graph:
    """A symbol as its JSON has it: nodes, and entries, which are pairs of a node's number and an output's number."""

    def __init__(self, symbol):
        graph = json.loads(symbol.tojson())
        self.nodes, self.entries = graph["nodes"], [tuple(entry[:2]) for entry in graph["heads"]]
        self.outputs, self.arguments = symbol.list_outputs(), symbol.list_arguments()
        self.heads = []
        seen = set()
        for entry, output in zip(self.entries, self.outputs):
            path = self._path(entry, SHAPE_ONLY)
            if path[-1] not in seen:  # a head may be shown by several outputs
                seen.add(path[-1])
                self._add_head(path, output)

    def labels(self):
        """The variables that the heads take for labels, in the order of the network's arguments."""
        used = {name for head in self.heads for name in head.arguments["label_names"] or ()}
        return [name for name in self.arguments if name in used]

    def shown(self):
        """Outputs that show a variable as it is, by the variable's name."""
        roots = [self._path(entry, ("BlockGrad", "_copy"))[-1] for entry in self.entries]
        return {self._node(root)["name"]: output for root, output in zip(roots, self.outputs)
                if self._node(root)["op"] == "null"}

    def _node(self, entry):
        return self.nodes[entry[0]]

    def _input(self, entry, number=0):
        return tuple(self._node(entry)["inputs"][number][:2])

    def _kind(self, entry):
        """The operator's name; that of a Custom operator is its `op_type`."""
        node = self._node(entry)
        return _attributes(node).get("op_type") if node["op"] == "Custom" else node["op"]

    def _path(self, entry, through):
        """The entries from `entry` down to the first that is not made by one of the operators `through`."""
        path = [entry]
        while self._kind(path[-1]) in through:
            path.append(self._input(path[-1]))
        return path

    def _add_head(self, path, output):
        entry, name = path[-1], self._node(path[-1])["name"]
        op = self._kind(entry)
        if op not in HEADS:
            return
        arguments = {"output_names": [output], "label_names": None}
        source = entry
        if op in ("MakeLoss", "make_loss"):
            source = self._path(self._input(entry), SHAPE_ONLY)[-1]
            if self._kind(source) == "centerloss":
                op = "centerloss"  # whose gradient has its own scale, whatever factor MakeLoss has
            elif self._depends_on("centerloss", source):
                _check.fail("from_symbol", "symbol", "one in which MakeLoss stands right behind centerloss, which sends"
                            " its own gradient whatever follows: its loss is not what `{}` shows".format(name), output)
            elif self._is_sum(self._input(entry)):
                arguments["batch_sum"] = True
        options = HEADS[op].options
        attributes = _attributes(self._node(source if op == "centerloss" else entry))
        arguments.update((key, text) for key, text in attributes.items() if key in options and op != "make_loss")
        if op == "centerloss":
            label = self._path(self._input(source, 1), ("BlockGrad", "_copy"))[-1]
            arguments["label_names"] = [self._node(label)["name"]] if self._node(label)["op"] == "null" else None
        elif op == "MakeLoss":
            arguments["reshaped"] = len(path) > 1
        elif op != "make_loss":
            arguments.update(self._undone(name, path), **self._label(name, self._input(entry, 1)))
        self.heads.append(GraphHead(op, name, arguments))

    def _depends_on(self, kind, entry):
        todo, seen = [entry], set()
        while todo:
            entry = todo.pop()
            if self._kind(entry) == kind:
                return True
            for number in range(len(self._node(entry)["inputs"])):
                below = self._input(entry, number)
                if below[0] not in seen:
                    seen.add(below[0])
                    todo.append(below)
        return False

    def _is_sum(self, entry):
        """Whether a loss of one number is a weighted sum; one that is divided again is taken for a mean."""
        return self._kind(self._path(entry, (*SHAPE_ONLY, "_mul_scalar"))[-1]) == "sum"

    def _undone(self, name, path):
        """How to bring the output back into the order that the head gave it."""
        operators, reshaped = [], False
        for entry in path[:-1]:  # from the output down
            kind = self._kind(entry)
            if kind in CHANGING_ORDER:
                if reshaped:
                    _check.fail("from_symbol", "symbol", "one whose outputs tell the shape of its heads: `{}` is"
                                " transposed and then reshaped".format(name), self._node(path[0])["name"])
                attributes = _attributes(self._node(entry))
                if "axes" in attributes:
                    attributes["axes"] = str(tuple(np.argsort(ast.literal_eval(attributes["axes"])).tolist()))
                operators.append([kind, attributes])
            elif kind not in ("_copy", "Cast"):
                reshaped = True
        return {"output_ops": operators, "reshaped": reshaped}

    def _label(self, name, entry):
        """Where to find a head's label, and how to bring it into the shape that the head sees."""
        path = self._path(entry, (*SHAPE_ONLY, "BlockGrad"))
        if self._node(path[-1])["op"] == "null":
            return {"label_names": [self._node(path[-1])["name"]], "label_ops": self._operators(path[:-1])}
        for shown, output in zip(self.entries, self.outputs):
            for below in self._path(shown, (*KEEPING_ORDER, "BlockGrad")):
                operators = self._operators(path[:path.index(below)]) if below in path else None
                if operators is not None and not any(kind in CHANGING_ORDER for kind, _ in operators):
                    return {"label_names": [output], "label_ops": operators}
        return _check.fail("from_symbol", "symbol", "a Group that shows the label which the network makes for `{}` as"
                           " an output, BlockGrad(label)".format(name), self.outputs)

    def _operators(self, path):
        return [[self._kind(entry), _attributes(self._node(entry))] for entry in reversed(path)
                if self._kind(entry) not in ("BlockGrad", "_copy", "Cast", "reshape_like")]


def _attributes(node):
    return {key: text for key, text in node.get("attrs", {}).items() if not key.startswith("__")}
