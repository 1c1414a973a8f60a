"""One training step of a loss in Module, on one device or several."""
import mxnet as mx
import numpy as np


def module_of(loss, inputs, devices, parameters=None, lr=1.0, momentum=0.0):
    """A Module that trains ``shift``, which is added to the first input of `loss`, by SGD on the mean over the batch.

    `inputs` is a dict of NumPy arrays by name, the first of which is what `loss` is a function of.
    """
    names = list(inputs)
    variables = {name: mx.sym.var(name) for name in names}
    first = inputs[names[0]]
    shift = mx.sym.var("shift_weight", shape=(1,) + first.shape[1:], dtype=first.dtype)
    variables[names[0]] = mx.sym.broadcast_add(variables[names[0]], shift)
    net = mx.sym.MakeLoss(loss(*variables.values()), name="loss")
    module = mx.mod.Module(net, data_names=names[:1], label_names=names[1:],
                           context=[mx.cpu(i) for i in range(devices)])
    describe = [mx.io.DataDesc(name, array.shape, array.dtype) for name, array in inputs.items()]
    module.bind(describe[:1], describe[1:] or None)
    module.init_params(mx.init.Zero(), arg_params=parameters, allow_missing=True)
    module.init_optimizer(kvstore="device", optimizer="sgd",
                          optimizer_params={"learning_rate": lr, "momentum": momentum, "wd": 0.0})
    return module


def batch_of(inputs):
    """A `DataBatch` of the arrays in `inputs`."""
    first, *rest = [mx.nd.array(array, dtype=array.dtype) for array in inputs.values()]
    return mx.io.DataBatch([first], rest)


def step_of(loss, inputs, devices, parameters=None):
    """The mean over the batch that the loss reports, and the step that Module's SGD takes at learning rate 1."""
    module = module_of(loss, inputs, devices, parameters)
    module.forward_backward(batch_of(inputs))
    module.update()
    value = module.get_outputs()[0].asnumpy().mean()
    return value, -module.get_params()[0]["shift_weight"].asnumpy()[0].astype(np.float64)
