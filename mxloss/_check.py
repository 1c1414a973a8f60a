"""The gate: every argument is checked here, and every error sentence is written here.

A sentence says who complains, about which argument, what is allowed and what came:
``CenterLoss: `alpha` must be in [0, 1], got 1.5``.
"""
import importlib
import numbers

import mxnet as mx
import numpy as np


def fail(who, name, allowed, got, kind=ValueError, *, where=""):
    """Raise `kind` with the one sentence of this package; `where` tells in which place of the argument it came."""
    raise kind(sentence(who, name, allowed, _shown(got)) + where)


def sentence(who, name, allowed, got):
    """The one sentence of this package, for a graph or a saved network that has to carry it."""
    return "{}: `{}` must be {}, got {}".format(who, name, allowed, got)


def _shown(value, limit=120):
    """`value` in one line that fits an error message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[:limit - 3] + "..."


def number(who, name, value, low=None, high=None, *, low_open=False):
    """`value` as a float within [low, high]; (low, high] with `low_open`; never NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, np.number)):
        fail(who, name, "a number", value, TypeError)
    result = float(value)
    below = low is not None and (result <= low if low_open else result < low)
    above = high is not None and result > high
    if below or above or not np.isfinite(result):
        if low is None and high is None:
            allowed = "a finite number"
        elif high is None:
            allowed = "a finite number {} {}".format(">" if low_open else ">=", low)
        else:
            allowed = "in {}{}, {}]".format("(" if low_open else "[", low, high)
        fail(who, name, allowed, value)
    return result


def integer(who, name, value, low=None):
    """`value` as an int, not below `low`."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        fail(who, name, "a whole number", value, TypeError)
    if low is not None and value < low:
        fail(who, name, "a whole number >= {}".format(low), value)
    return int(value)


def flag(who, name, value):
    """`value`, which has to be True or False."""
    if not isinstance(value, (bool, np.bool_)):
        fail(who, name, "True or False", value, TypeError)
    return bool(value)


def choice(who, name, value, allowed):
    """`value`, which has to be one of `allowed`."""
    if value not in allowed:
        fail(who, name, "one of " + ", ".join(map(repr, allowed)), value)
    return value


def names(who, name, wanted, known):
    """`wanted` as a list of names, each of which has to be in `known`."""
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    missing = [item for item in wanted if item not in known]
    if missing:
        fail(who, name, "among " + (", ".join(map(repr, known)) or "none at all"), missing[0])
    return wanted


def rank(who, name, shape, wanted, meaning):
    """`shape`, which has to have `wanted` axes: `meaning` names them."""
    if len(shape) != wanted:
        fail(who, name, "{}, {} {}".format(meaning, wanted, "axis" if wanted == 1 else "axes"), tuple(shape))
    return tuple(shape)


def shape(who, name, got, *wanted):
    """`got`, which has to be one of the shapes `wanted`."""
    if tuple(got) not in map(tuple, wanted):
        fail(who, name, "of shape " + " or ".join(dict.fromkeys(str(tuple(item)) for item in wanted)), tuple(got))
    return tuple(got)


def dtype(who, name, got, *wanted):
    """`got`, which has to be one of the types `wanted`."""
    if np.dtype(got) not in map(np.dtype, wanted):
        fail(who, name, "of dtype " + " or ".join(np.dtype(item).name for item in wanted), np.dtype(got).name)
    return np.dtype(got)


def axis(who, name, shape, value):
    """`value`, an axis of the array `name`, counted from the front; it exists and is not the first."""
    if not -len(shape) < value < len(shape) or value == 0:
        fail(who, name, "an array with an axis {} behind the batch axis".format(value), tuple(shape))
    return value % len(shape)


def broadcastable(who, name, got, wanted):
    """`got`, which has to have as many axes as `wanted`, each of the same length or of length 1."""
    if len(got) != len(wanted) or any(a not in (1, b) for a, b in zip(got, wanted)):
        fail(who, name, "of shape {}, or 1 along some axes".format(tuple(wanted)), tuple(got))
    return tuple(got)


def array(who, name, value):
    """`value`, which has to be an NDArray, a Symbol or None."""
    if value is not None and not isinstance(value, (mx.nd.NDArray, mx.sym.Symbol)):
        fail(who, name, "an NDArray or a Symbol", value, TypeError)
    return value


def attribute(who, name, text, kind):
    """The value of an operator's attribute, which MXNet hands over as `text`: `kind` is int, float, bool or str."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return kind(text)
    except (KeyError, ValueError):
        expected = {int: "a whole number", float: "a number", bool: "True or False"}[kind]
        fail(who, name, expected, text)


def attributes(who, given, known, required):
    """The names of an operator's attributes: none unknown, none of `required` missing."""
    for name in given:
        if name not in known:
            raise ValueError("{}: unknown attribute `{}`, known are {}{}".format(
                who, name, ", ".join("`{}`".format(item) for item in known),
                "; arrays are given by position" if "NDArray" in str(given[name]) else ""))
    for name in required:
        if name not in given:
            raise ValueError("{}: attribute `{}` is missing".format(who, name))


def classes(who, label, num_class, ignore_label=None):
    """Labels on the host as int64, each of them a class or `ignore_label`.

    Args:
        label: NumPy array of any shape and number type.
        num_class: how many classes there are; labels go from 0 to num_class - 1.
        ignore_label: one more value that is allowed.
    """
    valid = (label >= 0) & (label < num_class)
    if label.dtype.kind == "f":
        valid &= label == np.floor(label)
    if ignore_label is not None:
        valid |= label == ignore_label
    if not valid.all():
        entry = int(np.argmin(valid.reshape(-1)))
        row = np.unravel_index(entry, label.shape)
        place = "in row {}".format(row[0]) if label.size == len(label) else "at {}".format(tuple(map(int, row)))
        fail(who, "label", class_range(num_class, ignore_label), label.reshape(-1)[entry].item(), where=" " + place)
    return label.astype(np.int64)


def extra(who, module):
    """The imported `module`, which comes with an extra of this package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError("{}: {} is missing, which `pip install mxloss[watch]` brings along".format(
            who, module.split(".")[0])) from error


def class_range(num_class, ignore_label=None):
    """What a label may be, in words."""
    return "a whole number in [0, {}]{}".format(num_class - 1,
                                                "" if ignore_label is None else " or {}".format(ignore_label))


def class_type(who, num_class, dtype):
    """`dtype` of labels, which has to tell `num_class` classes apart."""
    exact = {"float16": 2 ** 11, "float32": 2 ** 24}.get(np.dtype(dtype).name, num_class)
    if num_class > exact:
        fail(who, "label", "of a type that can tell {} classes apart".format(num_class), np.dtype(dtype).name)
    return dtype


def probabilities(who, label, axis):
    """Labels on the host that are the probabilities of the classes along `axis`: no one negative, their sum 1."""
    total = label.astype(np.float64).sum(axis=axis)
    tolerance = 1e-2 if label.dtype == np.float16 else 1e-4
    wrong = ~((np.abs(total - 1) <= tolerance) & (label.min(axis=axis) >= 0))
    if wrong.any():
        row = int(np.argmax(wrong.reshape(-1)))
        fail(who, "label", "probabilities that sum to 1", float(total.reshape(-1)[row]), where=" in row {}".format(row))
