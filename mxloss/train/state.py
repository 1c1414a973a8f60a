"""Everything that the training of a `Module` has changed, to be kept and put back."""
import pickle

import mxnet as mx

from .. import _check
from ..callback import wait_for_outputs


def check(module):
    """Refuse a module whose state cannot be read: called when its optimizer is there."""
    if not isinstance(module, mx.mod.Module):
        _check.fail("fit", "checkpoint", "None for any module but `mx.mod.Module`", type(module).__name__)
    try:
        _updater(module).get_states(dump_optimizer=True)
    except Exception as error:  # pickle has no one kind of error
        _check.fail("fit", "optimizer", "of parts that can be pickled, for its checkpoints", error)


def read(module, *, within_epoch):
    """Parameters by name with ``arg:`` or ``aux:`` in front, and the rest as a dict that can be pickled.

    At the end of each epoch `Module.fit` gives all devices the mean of their arrays. Within an epoch they may differ,
    as BatchNorm's averages do, so the array of each device is kept.
    """
    wait_for_outputs(module)  # the kvstore has its update, and an auxiliary state what a custom operator writes
    args, auxs = module.get_params()
    params = dict({"arg:" + name: array for name, array in args.items()},
                  **{"aux:" + name: array for name, array in auxs.items()})
    devices = {}
    if within_epoch:
        for name, arrays in _device_arrays(module).items():
            values = [array.asnumpy() for array in arrays]
            if any((value != params[name].asnumpy()).any() for value in values):
                devices[name] = values
    optimizer = _updater(module).get_states(dump_optimizer=True)
    return params, {"devices": devices, "optimizer": optimizer, "layout": _layout(module)}


def check_params(module, params):
    """Refuse parameters that are not those of the network: called when the module is bound."""
    shapes = {name: arrays[0].shape for name, arrays in _device_arrays(module).items()}
    if sorted(params) != sorted(shapes):
        _check.fail("fit", "checkpoint", "of the parameters " + ", ".join(sorted(shapes)), ", ".join(sorted(params)))
    for name, shape in shapes.items():
        _check.shape("fit", name, params[name].shape, shape)


def write_optimizer(module, state):
    """Put back the optimizer and its states: called when the module's own optimizer has been initialised."""
    layout, saved_layout = _layout(module), state["layout"]
    if layout["on_kvstore"] != saved_layout["on_kvstore"] or \
            (not layout["on_kvstore"] and layout["devices"] != saved_layout["devices"]):
        _check.fail("fit", "checkpoint", "of as many devices and the same kind of kvstore, {}".format(layout),
                    saved_layout)
    own = module._optimizer
    _, saved = pickle.loads(state["optimizer"])
    if type(own).__name__ != type(saved).__name__:
        _check.fail("fit", "optimizer", type(saved).__name__ + ", which the checkpoint is of", type(own).__name__)
    updater = _updater(module)
    updater.set_states(state["optimizer"])
    # It stays the object that the module, and perhaps the caller, holds: so set_learning_rate goes on to work.
    vars(own).update(vars(updater.optimizer), param_dict=own.param_dict)
    updater.optimizer = own


def write_devices(module, state):
    """Put back what was different on each device."""
    arrays = _device_arrays(module)
    for name, values in state["devices"].items():
        if len(values) == len(arrays[name]):
            for array, value in zip(arrays[name], values):
                array[:] = mx.nd.array(value, dtype=value.dtype)
            module._params_dirty = True  # so that get_params asks the devices


def _device_arrays(module):
    group = module._exec_group
    return dict({"arg:" + name: arrays for name, arrays in zip(group.param_names, group.param_arrays)},
                **{"aux:" + name: arrays for name, arrays in zip(group.aux_names, group.aux_arrays)})


def _updater(module):
    return module._kvstore._updater if module._update_on_kvstore else module._updater


def _layout(module):
    return {"on_kvstore": bool(module._update_on_kvstore), "devices": len(module._context)}
