"""Move the scheduled weights of losses on with each training step: part of what `guard.install` puts in place."""
import json

from ..loss.schedule import MARK, PiecewiseLinear, ScheduledWeight, value


def begin_module(module):
    """Start from where the weights of a module are: called when its optimizer is made."""
    steps = {name: int(module._exec_group.execs[0].aux_dict[name].asnumpy()[1]) for name in _schedules(module)}
    module._optimizer.loss_weight_steps = steps  # modules of a BucketingModule share weights and optimizer


def advance_module(module):
    """Write the weights of the next step to all devices; nothing is waited for."""
    for name, schedule in _schedules(module).items():
        steps = module._optimizer.loss_weight_steps
        steps[name] += 1
        for executor in module._exec_group.execs:
            value(schedule, steps[name]).copyto(executor.aux_dict[name])
        module._params_dirty = True


def advance_trainer(trainer):
    """Move the weights on that are among the trainer's parameters."""
    for parameter in trainer._params:
        if isinstance(parameter, ScheduledWeight):
            parameter.advance()


def mark_symbol_block(block, attributes):
    """Know scheduled weights of an imported network, by the attributes of its variables."""
    for name, own in attributes.items():
        if MARK in own and name in block.params:
            ScheduledWeight.mark(block.params[name], PiecewiseLinear(json.loads(own[MARK])))


def _schedules(module):
    """The schedules of a module's weights by name."""
    if "_loss_weight_schedules" not in module.__dict__:
        module._loss_weight_schedules = {
            name: PiecewiseLinear(json.loads(attributes[MARK]))
            for name, attributes in module.symbol.attr_dict().items() if MARK in attributes}
    return module._loss_weight_schedules
