"""Let MXNet's two training loops say what would go silently wrong with centers and labels, and count their steps.

What may be wrong is known to `Module` and `Trainer` alone: which optimizer runs where, whether gradients are added up
over devices and workers, compressed, or row-sparse. An optimizer is told none of it, and an exception inside one is
swallowed where it runs on a kvstore. So `install` puts a look ahead of these methods of MXNet's, which changes nothing
where there are no centers, guarded labels (`mxloss.functional`) or schedules:

- ``Module.init_optimizer``: the settings; on several workers, the same weights to start from.
- ``Module.forward``: which batch is trained on.
- ``Module.update``: the labels of the batch, before anything has moved; behind it, the step is counted.
- ``Trainer._init_kvstore``: the settings, at the first step.
- ``Trainer._init_params``: on several workers, no step before each has its weights (of any network).
- ``Trainer._check_and_rescale_grad``: the labels and counts of the batch, before anything has moved.
- ``Trainer._update``: behind it, the step is counted, by which weights with a schedule go.
- ``SymbolBlock.__init__``: centers and counts of an imported network are known as such.
- ``HybridBlock._call_cached_op``: the labels of a hybridized network, before it is entered.
- ``HybridBlock._build_cache``: parameters of a network that guards what it computes itself are known as such.
"""
import functools
import json
import os

import mxnet as mx
import numpy as np
from mxnet.model import _create_kvstore

from .. import _check
from ..loss.center import CenterParameter, class_labels
from ..loss.center.block import MARK
from ..loss.schedule import MARK as STEP_MARK
from ..loss.schedule import StepParameter
from .centers import WithCenters
from .label import Labels, come_to_rest
from .step import count_of_module, count_of_trainer

_NATIVE_ERROR = "take operator contains indices out of bound"


def install():
    """Put the looks in place; a second call does nothing."""
    for owner, name, look in (
            (mx.mod.Module, "init_optimizer", _init_optimizer),
            (mx.mod.Module, "forward", _forward),
            (mx.mod.Module, "update", _update),
            (mx.gluon.Trainer, "_init_kvstore", _init_kvstore),
            (mx.gluon.Trainer, "_init_params", _init_params),
            (mx.gluon.Trainer, "_check_and_rescale_grad", _check_and_rescale_grad),
            (mx.gluon.Trainer, "_update", _update_of_trainer),
            (mx.gluon.SymbolBlock, "__init__", _init_symbol_block),
            (mx.gluon.HybridBlock, "_build_cache", _build_cache),
            (mx.gluon.HybridBlock, "_call_cached_op", _call_cached_op)):
        if not hasattr(getattr(owner, name), "__wrapped__"):
            setattr(owner, name, _with(look, getattr(owner, name)))


def _with(look, method):
    @functools.wraps(method)
    def looked_at(self, *arguments, **keywords):
        return look(self, functools.partial(method, self), *arguments, **keywords)
    return looked_at


# What is wrong

def _check_settings(who, rules, optimizer, kvstore, devices, on_kvstore, sparse, compression):
    """Refuse what would spoil centers; `rules` maps their names to what moves them, 'average' or 'gradient'."""
    average = [name for name, rule in rules.items() if rule["update"] == "average"]
    if isinstance(optimizer, str):
        known = mx.optimizer.Optimizer.opt_registry.get(optimizer.lower(), object)
    else:
        known = type(optimizer)
    if average and not issubclass(known, WithCenters):
        _check.fail(who, "optimizer", "'withcenters' with this one as its base, which moves `{}` by eq. 4".format(
            average[0]), optimizer if isinstance(optimizer, str) else known.__name__.lower())
    if average and compression:
        _check.fail(who, "compression_params", "None: compressed sums and counts move `{}` astray".format(average[0]),
                    compression)
    if kvstore is None and devices > 1:
        _check.fail(who, "kvstore", "'device' or 'local', to add up what {} devices have".format(devices), None)
    if not _is_dist(kvstore):
        return
    if average and "async" in _type(kvstore):
        _check.fail(who, "kvstore", "'dist_sync', which has one batch of all workers", _type(kvstore))
    if average and sparse:
        _check.fail("CenterLoss", "sparse_grad", "False on several machines, where MXNet does not add up row-sparse "
                    "gradients", True)
    if average and on_kvstore:
        name, value = ("update_on_kvstore", "False") if who == "Trainer" else (
            "MXNET_UPDATE_ON_KVSTORE", "0 in the environment of each worker")
        _check.fail(who, name, value + ": a parameter server cannot move centers", "an update there")


def _check_batch(rules, guarded, grads, weights, check_labels):
    """Raise what the engine has against this batch, once all of it has come to rest.

    Args:
        rules: of each of the centers, by name.
        guarded: what the guards of the network say of their labels.
        grads: on all devices, of the centers, or of all that has any where there are guards; waiting for them is what
            brings an error to light.
        weights: of each of the centers, by name.
        check_labels: raises an error that names the label, where Python can see it.
    """
    failures = []
    for grad in grads:
        try:
            grad.wait_to_read()
        except Exception as error:
            failures.append(error)
    if not failures:
        return
    come_to_rest()
    if _NATIVE_ERROR in str(failures[0]):
        check_labels()
        for name, rule in rules.items():
            if rule["update"] == "average":
                _check_counts("centers", weights[name])
        said = [("CenterLoss", _check.class_range(rule["num_class"], rule["ignore_label"])) for rule in rules.values()]
        said += [(rule["who"], " or ".join(["a class", *map(str, rule["allowed"])])) for rule in guarded
                 if "allowed" in rule]
        if said:
            who, allowed = said[0]
            _check.fail(who, "label", allowed, "another one in this batch, which has changed nothing")
    raise failures[0]


def _beside_centers(guarded, centers):
    """The rules of guards which the gradients of centers tell nothing of."""
    return [rule for rule in guarded if not centers or rule.get("who") != "CenterLoss"]


def _check_counts(name, array):
    """Samples are counted in whole numbers, which an optimizer or a clipping that knows nothing of them breaks."""
    count = (array.data if array.stype == "row_sparse" else array)
    count = count.slice_axis(axis=1, begin=array.shape[1] - 1, end=array.shape[1]).asnumpy()
    if not ((count >= 0) & (count == np.floor(count))).all():
        _check.fail("CenterLoss", name, "left to 'withcenters', and never clipped with other gradients or compressed",
                    "counts of samples that are no whole numbers")


def _type(kvstore):
    return kvstore.lower() if isinstance(kvstore, str) else kvstore.type


def _is_dist(kvstore):
    return kvstore is not None and "dist" in _type(kvstore)


def _on_kvstore_by_default():
    return bool(int(os.getenv("MXNET_UPDATE_ON_KVSTORE", "1")))


# Module

def _init_optimizer(module, method, kvstore="local", optimizer="sgd", optimizer_params=(("learning_rate", 0.01),),
                    force_init=False):
    if module.optimizer_initialized and not force_init:
        method(kvstore, optimizer, optimizer_params, force_init)
        return
    rules, dist = _rules(module), _is_dist(kvstore)
    if rules:
        # To create the kvstore of several machines is to connect to them.
        on_kvstore = _on_kvstore_by_default() if dist else _create_kvstore(
            kvstore, len(module._context), module._arg_params)[1]
        _check_module(module, rules, optimizer, kvstore, on_kvstore)
    if isinstance(optimizer, WithCenters):  # one that is made by name has seen the symbol
        optimizer.center_names = (optimizer.center_names or set()) | {
            name for name, rule in rules.items() if rule["update"] == "average"}
    method(kvstore, optimizer, optimizer_params, force_init)
    if rules and dist and not on_kvstore:
        # MXNet hands the first worker's weights to the others only where the servers update.
        for name, arrays in zip(module._exec_group.param_names, module._exec_group.param_arrays):
            module._kvstore.pull(name, out=arrays)
        module._params_dirty = True
        mx.nd.waitall()


def _check_module(module, rules, optimizer, kvstore, on_kvstore):
    group, devices = module._exec_group, len(module._context)
    grads = dict(zip(group.param_names, group.grad_arrays))
    sparse = [name for name in rules if grads[name][0].stype == "row_sparse"]
    _check_settings("Module", rules, optimizer, kvstore, devices, on_kvstore, sparse, module._compression_params)
    if sparse and group.grad_req[sparse[0]] == "add":
        _check.fail("Module", "grad_req", "'write' with a CenterLoss of sparse_grad=True", "add")
    if sparse and not on_kvstore and (_is_dist(kvstore) or devices > 1):
        _check.fail("Module", "kvstore", "one that updates by itself, as 'device' does, with a CenterLoss of "
                    "sparse_grad=True: otherwise MXNet never adds up row-sparse gradients", kvstore)


def _forward(module, method, data_batch, is_train=None):
    method(data_batch, is_train)
    if (module.for_training if is_train is None else is_train) and _labels(module).seen:
        module._trained_batch = None if isinstance(data_batch, list) else data_batch


def _update(module, method):
    rules, labels, group = _rules(module), _labels(module), module._exec_group
    guarded = _beside_centers(labels.unseen, rules)
    if labels.seen:
        batch = module.__dict__.get("_trained_batch")
        if batch is not None:
            try:
                labels.check(_inputs(group, batch))
            except ValueError:
                come_to_rest()
                raise
        if batch is None or "add" in group.grad_req.values():  # there were other batches since the last step
            guarded = labels.seen + guarded
    if rules or guarded:
        grads = dict(zip(group.param_names, group.grad_arrays))
        _check_batch(rules, guarded, [grad for name in (grads if guarded else rules) for grad in grads[name]
                                      if grad is not None],
                     group.execs[0].arg_dict, functools.partial(_check_labels, module))
    method()
    count_of_module(module)


def _rules(module):
    """Of each of the centers that `module` trains, by name, what its CenterLoss says of it."""
    if "_center_rules" not in module.__dict__:
        trained = {name for name in module._param_names if module._exec_group.grad_req.get(name) != "null"}
        module._center_rules = {name: json.loads(attributes[MARK])
                                for name, attributes in module.symbol.attr_dict().items()
                                if MARK in attributes and name in trained}
    return module._center_rules


def _labels(module):
    """The guarded labels of the network of `module`."""
    if "_guarded_labels" not in module.__dict__:
        module._guarded_labels = Labels(module.symbol, module.data_names + module.label_names)
    return module._guarded_labels


def _inputs(group, batch):
    """Data and labels by name as the batch has them, where no pass that is under way has to be waited for."""
    return dict(zip(group.data_names + (group.label_names or []), [*batch.data, *(batch.label or ())]))


def _check_labels(module):
    """Name the label that is no class, where the network does not compute the labels."""
    for name, rule in class_labels(module.symbol):
        seen = [executor.arg_dict[name].asnumpy().reshape(-1) for executor in module._exec_group.execs]
        _check.classes(rule["who"], np.concatenate(seen), rule["num_class"], rule["ignore_label"])


# Gluon

def _init_kvstore(trainer, method):
    centers = _centers(trainer)
    if centers:
        kvstore, on_kvstore = (trainer._kvstore_params[key] for key in ("kvstore", "update_on_kvstore"))
        _check_settings("Trainer", {parameter.name: parameter.rule for parameter in centers}, trainer._optimizer,
                        kvstore, len(trainer._contexts),
                        _on_kvstore_by_default() if on_kvstore is None else on_kvstore,
                        any(parameter._grad_stype == "row_sparse" for parameter in centers),
                        trainer._compression_params)
    method()


def _init_params(trainer, method):
    method()
    if trainer._distributed and not trainer._update_on_kvstore:
        # What a worker has yet to pull would be overwritten by the gradients that all of them push.
        mx.nd.waitall()


def _check_and_rescale_grad(trainer, method, scale):
    centers = _centers(trainer)
    guarded = [rule for parameter in trainer._params for rule in getattr(parameter, "label_guards", ())]
    guarded = _beside_centers(guarded, centers)
    if centers or guarded:
        waited = [parameter for parameter in trainer._params if parameter._grad] if guarded else centers
        _check_batch({parameter.name: parameter.rule for parameter in centers}, guarded,
                     [grad for parameter in waited for grad in parameter.list_grad()],
                     {parameter.name: parameter.list_data()[0] for parameter in centers}, lambda: None)
        for parameter in centers:
            if parameter.rule["update"] == "average":
                for grad in parameter.list_grad():
                    _check_counts("gradient of the centers", grad)
    method(scale)


def _update_of_trainer(trainer, method, ignore_stale_grad=False):
    method(ignore_stale_grad)
    count_of_trainer(trainer)


def _centers(trainer):
    """The centers that `trainer` moves."""
    return [parameter for parameter in trainer._params
            if isinstance(parameter, CenterParameter) and parameter.grad_req != "null"]


def _init_symbol_block(block, method, outputs, inputs, params=None):
    method(outputs, inputs, params)
    for name, attributes in block._cached_graph[1].attr_dict().items():
        if MARK in attributes and name in block.params:
            CenterParameter.mark(block.params[name], json.loads(attributes[MARK]))
        if STEP_MARK in attributes and name in block.params:
            StepParameter.mark(block.params[name])


def _build_cache(block, method, *inputs):
    method(*inputs)
    block._guarded_labels = Labels(block._cached_graph[1], [variable.name for variable in block._cached_graph[0]])
    for parameter in block.collect_params().values():
        if block._guarded_labels.unseen:
            parameter.label_guards = block._guarded_labels.unseen


def _call_cached_op(block, method, *inputs):
    if block._cached_op is None:
        block._build_cache(*inputs)
    labels = getattr(block, "_guarded_labels", None)
    if labels is not None and labels.seen:
        arrays = [array for array in mx.gluon.block._flatten(inputs, "input")[0] if array is not None]
        names = [variable.name for variable in block._cached_graph[0]]
        labels.check(dict(zip(names, arrays)))
    return method(*inputs)
