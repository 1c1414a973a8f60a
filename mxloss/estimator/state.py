"""What a training has reached, taken out of an Estimator and put back: nothing is lost in between."""
import os
import tempfile

import mxnet as mx

from .. import _check


def collect(estimator):
    """Parameters as a checkpoint file has them, and what else a training has reached.

    Returns:
        Dict of arrays, ``arg:`` or ``aux:`` before their names; dict of other things to be pickled; the symbol of the
        network, if it was hybridized.
    """
    graph = getattr(estimator.net, "_cached_graph", None)
    symbol = graph[1] if graph else None
    arrays, copies, names = {}, {}, {}
    for key, parameter in _parameters(estimator):
        names[key] = parameter.name
        own = parameter.list_data()
        state = parameter.grad_req == "null"  # a state is not summed over devices: each has its own
        auxiliary = parameter.name in symbol.list_auxiliary_states() if graph else state
        whole = own[0].as_in_context(mx.cpu())
        if state and len(own) > 1:
            copies[key] = [array.asnumpy() for array in own]
            whole = parameter._reduce()  # their mean, as MXNet saves it
        arrays[("aux:" if auxiliary else "arg:") + parameter.name] = whole
    return arrays, {"names": names, "copies": copies, "trainer": _trainer_states(estimator.trainer)}, symbol


def restore(estimator, checkpoint):
    """Put what `collect` gave into the network, the losses and the trainer.

    Raises:
        ValueError: it is of another network; nothing has been changed then.
    """
    names, copies = checkpoint.state["names"], checkpoint.state["copies"]
    parameters = list(_parameters(estimator))
    arrays = {name.split(":", 1)[1]: array for name, array in checkpoint.params.items()}
    _check.names("fit", "parameters of the checkpoint", names, [key for key, _ in parameters])
    for key, parameter in parameters:
        _check.names("fit", "parameters", key, names)
        if parameter.shape is not None and len(parameter.shape) == arrays[names[key]].ndim:
            known = [own or saved for own, saved in zip(parameter.shape, arrays[names[key]].shape)]
            _check.shape("fit", key + " of the checkpoint", arrays[names[key]].shape, known)
    for key, parameter in parameters:
        parameter._load_init(arrays[names[key]], estimator.context)  # as `load_parameters` does
    _set_trainer_states(estimator.trainer, checkpoint.state["trainer"])
    for key, parameter in parameters:  # after the trainer, which starts its kvstore and makes all devices equal
        if len(copies.get(key, ())) == len(estimator.context):
            for own, array in zip(parameter.list_data(), copies[key]):
                own[:] = mx.nd.array(array, dtype=array.dtype)


def _parameters(estimator):
    """Each parameter once, by its place in the network or in the losses, which does not depend on counters of names."""
    seen = set()
    for who, block in (("net", estimator.net), ("losses", estimator.batch_processor.losses)):
        for key, parameter in block._collect_params_with_prefix().items():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield "{}.{}".format(who, key), parameter


def _trainer_states(trainer):
    """Optimizer and states, whether they are with the trainer or on its kvstore; MXNet gives them as a file only."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trainer")
        trainer.save_states(path)
        with open(path, "rb") as file:
            return file.read()


def _set_trainer_states(trainer, states):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trainer")
        with open(path, "wb") as file:
            file.write(states)
        trainer.load_states(path)
