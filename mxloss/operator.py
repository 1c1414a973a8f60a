"""Register operators written in Python so that a mistake ends in an error and never in a crash.

Usage::

    @register('my_loss')
    class MyLossProp(mx.operator.CustomOpProp):
        def __init__(self, num_class: int, scale: float = 1.0):
            super().__init__(need_top_grad=False)
            self.num_class = _check.integer('my_loss', 'num_class', num_class, low=1)
        ...

    mx.sym.Custom(data=x, label=y, op_type='my_loss', num_class=10)

    with explained():                 # a reader of the operator's outputs
        value = output.asnumpy()      # raises what the operator raised, not "Check failed"

MXNet 1.9.1 ends the process with a segmentation fault when the constructor of a `CustomOpProp` raises, hands every
attribute over as text, and reports an error of `forward` or `backward` to the reader of the output without its words.
`register` parses attributes by the annotations of the constructor, keeps a constructor's error until MXNet can take
it, and `explained` gives an error its words back.
"""
import contextlib
import functools
import inspect
import os

import mxnet as mx

from . import _check

_kept_errors = []
_with_states = set()  # names of operators that keep auxiliary states


def register(name):
    """Register a `CustomOpProp` class as the operator `name`.

    The constructor's parameters are the operator's attributes: annotated with their type (int, float, bool or str),
    which MXNet's text is parsed to; those without a default are required. Attributes that MXNet adds by itself
    (``__lr_mult__``, ``__ctx_group__``) are let through.

    Args:
        name: what `op_type` has to be.

    Returns:
        A class decorator that gives the class back unchanged.
    """
    def do_register(prop_class):
        mx.operator.register(name)(lambda **attributes: _create(name, prop_class, attributes))
        return prop_class
    return do_register


def _create(name, prop_class, texts):
    """The operator's property, or one that raises as soon as MXNet is able to take an error."""
    try:
        own = {key: text for key, text in texts.items() if not key.startswith("__")}
        parameters = inspect.signature(prop_class).parameters
        required = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
        _check.attributes(name, own, list(parameters), required)
        prop = prop_class(**{key: _check.attribute(name, key, text, parameters[key].annotation)
                             for key, text in own.items()})
        _refuse_mirroring(name, prop, texts)
    except Exception as error:  # whatever it is: past this function it would be a segmentation fault
        return _Refused(error)
    create_operator = prop.create_operator
    prop.create_operator = lambda *arguments: _keep_errors(create_operator(*arguments))
    return prop


def _keep_passes_apart(forward):
    """Let a pass of evaluation wait for one of training that is still under way, and the other way round.

    An executor has one flag for all of its passes, which the next pass sets before the last one has run: a step in
    training would leave the states as they are, one in evaluation would move them.
    """
    @functools.wraps(forward)
    def forward_apart(executor, is_train=False, **arrays):
        if "_keeps_states" not in executor.__dict__:
            attributes = executor._symbol.attr_dict().values()
            executor._keeps_states = any(of_node.get("op_type") in _with_states for of_node in attributes)
        if executor._keeps_states and executor.__dict__.get("_last_is_train", is_train) != is_train:
            with explained():
                for output in executor.outputs:
                    output.wait_to_read()
        executor._last_is_train = is_train
        return forward(executor, is_train, **arrays)
    return forward_apart


if not hasattr(mx.executor.Executor.forward, "__wrapped__"):
    mx.executor.Executor.forward = _keep_passes_apart(mx.executor.Executor.forward)


class _Refused(mx.operator.CustomOpProp):
    """Stands in for a property that could not be made: `list_arguments` is the first call that may raise."""

    def __init__(self, error):
        super().__init__(need_top_grad=False)
        self.error = error

    def list_arguments(self):
        raise self.error


def _refuse_mirroring(name, prop, texts):
    """Mirroring runs forward twice per training batch, and so would move auxiliary states twice."""
    if not prop.list_auxiliary_states():
        return
    _with_states.add(name)
    if texts.get("__force_mirroring__", "").lower() in ("true", "1"):
        _check.fail(name, "force_mirroring", "off: it runs the operator twice a batch", True)
    infer_shape = prop.infer_shape

    def checked_infer_shape(in_shape):  # when the network is bound, which is when MXNet reads the variable
        mirror = os.environ.get("MXNET_BACKWARD_DO_MIRROR", "0")
        if mirror.strip() not in ("", "0"):
            _check.fail(name, "MXNET_BACKWARD_DO_MIRROR", "unset or 0: it runs the operator twice a batch", mirror)
        return infer_shape(in_shape)
    prop.infer_shape = checked_infer_shape


def _keep_errors(operator):
    """Let `operator` leave the errors of its passes to `explained`."""
    for method in ("forward", "backward"):
        setattr(operator, method, _keeping(getattr(operator, method)))
    return operator


def _keeping(call):
    def kept(*arguments, **keywords):
        try:
            return call(*arguments, **keywords)
        except Exception as error:
            _kept_errors[:] = [error]
            raise
    return kept


@contextlib.contextmanager
def explained():
    """Raise the error of the operator that failed where MXNet only says that one did.

    Examples:
        >>> data, label = mx.nd.zeros((1, 2)), mx.nd.array([7])
        >>> with explained():  # doctest: +IGNORE_EXCEPTION_DETAIL
        ...     mx.nd.Custom(data, label, mx.nd.zeros((3, 2)), op_type='centerloss', num_class=3).asnumpy()
        Traceback (most recent call last):
        ValueError: centerloss: `label` must be a whole number in [0, 2], got 7.0 in row 0
    """
    try:
        yield
    except mx.base.MXNetError as failure:
        if "custom" in str(failure) and _kept_errors:
            raise _kept_errors.pop() from failure
        raise
