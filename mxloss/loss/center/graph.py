"""What a symbol says of the center losses in it."""
import json

from .block import MARK


def class_labels(symbol):
    """The variables of a symbol that hold the labels of its center losses, whichever door they came in by.

    Args:
        symbol: the network.

    Returns:
        Pairs of a variable's name and a dict of `who` speaks, `num_class` and `ignore_label`, which may be None.
        Labels that the network computes are not among them, nor those of a loss with sample weights, which tell which
        labels count.

    Examples:
        >>> loss = mxloss.CenterLoss(num_class=10, feature_size=2, prefix='center_')
        >>> class_labels(loss(mx.sym.var('feature'), mx.sym.var('digit')))
        [('digit', {'who': 'CenterLoss', 'num_class': 10, 'ignore_label': None})]
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    rules = {_prefix(node["name"]): json.loads(node["attrs"][MARK])
             for node in nodes if node["op"] == "null" and MARK in node.get("attrs", {})}
    found = []
    for node in nodes:
        attributes = node.get("attrs", {})
        if node["op"] == "Custom" and attributes.get("op_type") == "centerloss":
            source, who = nodes[node["inputs"][1][0]], "centerloss"
            num_class, ignore_label = int(attributes["num_class"]), None
        elif node["op"] == "BlockGrad" and node["name"].endswith("label") and node["name"][:-len("label")] in rules:
            source, who = nodes[node["inputs"][0][0]], "CenterLoss"
            rule = rules[node["name"][:-len("label")]]
            num_class, ignore_label = rule["num_class"], rule["ignore_label"]
        else:
            continue
        if source["op"] == "null":
            found.append((source["name"], {"who": who, "num_class": num_class, "ignore_label": ignore_label}))
    return found


def _prefix(name):
    """The prefix of the block whose centers have that name."""
    for ending in ("centers", "center_weight"):
        if name.endswith(ending):
            return name[:-len(ending)]
    return name
