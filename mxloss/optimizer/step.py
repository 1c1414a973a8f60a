"""Count the steps of an optimizer for the losses whose weight goes by them.

The count is an array on each device, of which a network computes its weights. It is added to after each step, behind
the passes that still read it, and nobody waits for it.
"""
from mxnet import autograd

from ..loss.schedule import MARK, StepParameter


def count_of_module(module):
    """Add a step where the network of `module` counts them."""
    if "_step_names" not in module.__dict__:
        auxiliary = set(module._aux_names)
        module._step_names = [name for name, attributes in module.symbol.attr_dict().items()
                              if MARK in attributes and name in auxiliary]
    for name in module._step_names:
        _add_one(executor.aux_dict[name] for executor in module._exec_group.execs)


def count_of_trainer(trainer):
    """Add a step where the networks of `trainer` count them."""
    for parameter in trainer._params:
        if isinstance(parameter, StepParameter) and parameter._trainer is trainer:
            _add_one(parameter.list_data())


def _add_one(arrays):
    with autograd.pause():
        for array in arrays:
            array += 1
