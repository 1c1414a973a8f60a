"""Maths that several losses share: labels that fail instead of training another class, and means over items.

Usage::

    label = guarded_label(label, pred, allowed=(-1,))                  # inside a graph: a bad batch changes nothing
    weight = item_weight(label != -1)                                  # on the host, over the whole batch
    loss = SoftmaxLoss(ignore_label=-1)(pred, label, weight)           # its mean over the batch is that of the items
"""
import json

import mxnet as mx
import numpy as np

#: What marks an operator of a symbol, saved or not, as a guard: a JSON text with what can be said of the label.
GUARD = "__guard__"


def backend(data):
    """The operators for `data`: `mx.sym` for a Symbol, `mx.nd` for an array."""
    return mx.sym if isinstance(data, mx.sym.Symbol) else mx.nd


def one_where(valid, dtype="float32", *, who=None):
    """Turn a condition inside a graph into a factor of 1 that fails where the condition does not hold.

    Whatever is computed from the result, gradients included, takes over MXNet's error, ``take operator contains indices
    out of bound``. But MXNet delivers an error once: when one array is read that carries it, it is forgotten for what
    is still to be computed, and an update under way would then run on old gradients. So the factor is marked in the
    graph, and `Module.update` and `Trainer.step` wait for the gradients of a network that has such a mark, and raise
    before any weight has moved (`mxloss.optimizer`). Labels that are inputs of the network are looked at instead.

    Args:
        valid: 1 where all is well, 0 elsewhere, any shape, array or symbol.
        dtype: of the factor.
        who: what an error says who speaks, None for MXNet's own error.

    Examples:
        >>> one_where(mx.nd.array([1, 1])).asnumpy()
        array([1., 1.], dtype=float32)
        >>> one_where(mx.nd.array([1, 0])).asnumpy()
        Traceback (most recent call last):
        mxnet.base.MXNetError: ...take operator contains indices out of bound...
    """
    return _one_where(valid, dtype, **_marked(backend(valid), {"who": who}))


def _one_where(valid, dtype, **mark):
    F = backend(valid)
    return F.take(F.ones(shape=(1,), dtype=dtype), 1 - valid, mode="raise", **mark)


def _marked(F, rule):
    """Keywords for an operator that is to carry a guard's mark."""
    return {"attr": {GUARD: json.dumps(rule)}} if F is mx.sym else {}


def guards(symbol):
    """What the guards in a symbol say, a list of dicts.

    Each has `who` speaks, which may be None. Those of `guarded_label` also have its `axis`, `first` and `allowed`, the
    name of the `label`, and as `pred` the place of `pred` among the outputs of ``symbol.get_internals()``.
    """
    if not any(GUARD in attributes for attributes in symbol.attr_dict().values()):
        return []
    inside, found = symbol.get_internals(), []
    for place in range(len(inside.list_outputs())):  # by place, for names of operators may come twice
        mark = inside[place].attr(GUARD)
        if mark is not None:
            rule = json.loads(mark)
            found.append(dict(rule, pred=place) if "label" in rule else rule)
    return found


def auxiliary(variable, dtype="float32"):
    """Read a variable of a graph as an auxiliary state, which optimizers and kvstores leave alone.

    What makes a variable an auxiliary state is the operator that reads it, and `BatchNorm` hands it on as it is: as its
    second output. The first has to be used, or the operator fails in evaluation. An array is passed through.

    Args:
        variable: ``(1,)``, array or symbol.
        dtype: of the variable, 'float32' or 'float64'.

    Returns:
        The value, ``(1,)``; no gradient flows through.

    Examples:
        >>> auxiliary(mx.sym.var('count')).list_auxiliary_states()
        ['count']
    """
    F = backend(variable)
    if F is mx.nd:
        return variable
    one = F.ones(shape=(1,), dtype=dtype)
    unused, value, _ = F.BatchNorm(F.zeros(shape=(1, 1), dtype=dtype), gamma=one, beta=one, moving_mean=variable,
                                   moving_var=variable, use_global_stats=True, output_mean_var=True)
    return F.BlockGrad(value + 0 * F.reshape(unused, shape=(1,)))


def guarded_label(label, pred, *, axis=-1, first=0, allowed=(), who="guarded_label"):
    """Make what a network computes from `label` fail where a label is no class, by `one_where`.

    MXNet's own `pick`, `take` and `Embedding` train the nearest class instead. Arrays are passed through: blocks check
    those on the host, where the error can name the label. A network that is bound without its label, to predict, has
    its shape from `pred`, and the type float32.

    Args:
        label: labels of any number type, in the shape of `pred` without `axis`, array or symbol.
        pred: what has one entry for each class along `axis`.
        axis: which axis of `pred` holds the classes.
        first: the label of the first class.
        allowed: further values that a label may have.
        who: what an error says who speaks.

    Returns:
        The labels as float64, which every class number fits in. No gradient flows through.

    Examples:
        >>> label, pred = mx.sym.var('label'), mx.sym.var('pred')
        >>> arrays = {'label': mx.nd.array([0, 3]), 'pred': mx.nd.zeros((2, 3))}
        >>> guarded_label(label, pred).bind(mx.cpu(), arrays).forward()[0].asnumpy()
        Traceback (most recent call last):
        mxnet.base.MXNetError: ...take operator contains indices out of bound...
    """
    F = backend(label)
    number = F.BlockGrad(F.cast(label, dtype="float64"))
    if F is mx.nd:
        return number
    rule = {"who": who, "label": label.name, "axis": axis, "first": first, "allowed": list(allowed)}
    pred = F.BlockGrad(pred, **_marked(F, rule))
    like = F.zeros_like(F.sum(F.slice_axis(pred, axis=axis, begin=0, end=1), axis=axis))
    number = F.reshape(number + F.cast(like, dtype="float64"), shape=(-1,))
    # The one operator that takes any type of its second input for what it is, and assumes float32 where there is none.
    zero = F.SequenceMask(F.cast(F.reshape(like, shape=(1, -1)), dtype="float32"),
                          F.ones_like(F.reshape(label, shape=(-1,))), use_sequence_length=True)
    number = number + F.cast(F.reshape(zero, shape=(-1,)), dtype="float64")
    end = None if axis == -1 else axis + 1
    num_class = F.cast(F.slice_axis(F.shape_array(pred), axis=0, begin=axis, end=end), dtype="float64")
    valid = (number >= first) * F.broadcast_lesser(number, first + num_class) * (number == F.floor(number))
    for value in allowed:
        valid = F.maximum(valid, number == value)
    return F.BlockGrad(F.reshape_like(number * _one_where(valid, "float64"), like))


def is_own_class(label, pred):
    """Mark the entries of `pred` that belong to each item's own class.

    Args:
        label: class of each item, ``(...)``.
        pred: one entry for each item and class, ``(..., num_class)``, array or symbol.

    Returns:
        1 at the own class, 0 elsewhere, in the shape of `pred`, float64; all 0 for a label that is no class.

    Examples:
        >>> is_own_class(mx.nd.array([2, 0, -1]), mx.nd.zeros((3, 3))).asnumpy()
        array([[0., 0., 1.],
               [1., 0., 0.],
               [0., 0., 0.]])
    """
    F = backend(pred)
    row = F.slice_axis(F.reshape(F.BlockGrad(pred), shape=(-1, 0), reverse=True), axis=0, begin=0, end=1)
    classes = F.contrib.arange_like(F.cast(row, dtype="float64"), axis=-1)  # which counts in the type that it is given
    label = F.cast(label, dtype="float64")
    own = F.broadcast_equal(F.reshape(label, shape=(-1, 1)), F.reshape(classes, shape=(1, -1)))
    return F.reshape_like(own, pred)


def item_weight(weight, per=None):
    r"""Scale weights so that a mean over the whole batch becomes a mean over its items.

    .. math:: w_i \cdot n \,/\, \max(1, \#\{j : p_j \ne 0\}), \quad n \text{ entries in } p

    With N devices a mean over items has one divisor, which no device knows: each sees its slice. So it is computed
    where the batch is still whole, on the host, and travels with the labels; `mxloss.io.ItemWeightIter` does that for
    `Module`. The optimizer's division by the batch and the metric's mean over it then both give the sum over the
    items divided by their number, on any number of devices.

    Args:
        weight: weight of each item of the whole batch, 0 for what is none: an array or NDArray.
        per: what is not 0 here is counted; default `weight`. A detector weights all anchors and divides by those that
            show an object.

    Returns:
        The weights in the shape and of the kind of `weight`, in float32 if that was of whole numbers; all 0 where
        nothing is counted and `per` is `weight`.

    Examples:
        >>> item_weight(np.array([4, -1, 2, 0]) != -1)
        array([1.3333334, 0. , 1.3333334, 1.3333334], dtype=float32)
    """
    per = weight if per is None else per
    counted = per.asnumpy() if isinstance(per, mx.nd.NDArray) else np.asarray(per)
    factor = counted.size / max(1, np.count_nonzero(counted))
    if not isinstance(weight, mx.nd.NDArray):
        weight = np.asarray(weight)
    if np.dtype(weight.dtype).kind != "f":
        weight = weight.astype("float32")
    return (weight * factor).astype(weight.dtype)
