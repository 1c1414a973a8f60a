"""Move the centers of a center loss beside any optimizer of MXNet's (Wen, Zhang, Li and Qiao, 2016)."""
import copyreg
import json
import os

import mxnet as mx

from .. import _check
from ..loss.center import CenterParameter, center_step
from ..loss.center.block import MARK, NEEDS_WITHCENTERS


@mx.optimizer.register
class WithCenters(mx.optimizer.Optimizer):
    r"""Move the centers of `CenterLoss` by `center_step` and every other parameter as `base` does.

    .. math:: c_j \leftarrow c_j - \frac{g_j}{1 + n_j}

    where the parameter's gradient holds :math:`g_j = \alpha \sum_i \delta(y_i = j) (c_j - x_i)` and the count
    :math:`n_j` of the whole batch, all devices and workers. Learning rate, momentum, weight decay, `rescale_grad` and
    clipping have no part in it.

    The result is *one* optimizer, an instance of the base's class too. Without centers in the network it is the base,
    bit for bit. Centers are the parameters of a `CenterLoss`; where nothing but a name is known, those named
    ``*centers``.

    To clip gradients by their global norm leave the centers out, whose gradient is no gradient::

        trainer = gluon.Trainer(parameters, 'withcenters', {...}, update_on_kvstore=False)
        ...
        trainer.allreduce_grads()
        for ctx in contexts:
            gluon.utils.clip_global_norm([p.grad(ctx) for p in parameters.values() if p.grad_req != 'null'
                                          and not p.name.endswith('centers')], max_norm)
        trainer.update(batch_size)

    On several machines (``dist_sync``) it runs on the workers: ``Trainer(..., update_on_kvstore=False)``, or the
    environment variable ``MXNET_UPDATE_ON_KVSTORE=0`` for Module.

    Args:
        base: name of a registered optimizer, or an optimizer, whose place the result takes: use `base` no longer.
        base_params: what the base is made with; with an optimizer as `base` only what MXNet adds by itself.

    Raises:
        ValueError: for a `base` that does not exist.
        TypeError: for parameters beside an optimizer as `base`.

    Examples:
        >>> optimizer = mx.optimizer.create('withcenters', base='sgd', learning_rate=0.1, momentum=0.9)
        >>> isinstance(optimizer, mx.optimizer.SGD)
        True
        >>> weight = mx.nd.array([[0., 0., 5.]])  # a center at 0 that 5 samples have moved
        >>> statistic = mx.nd.array([[-3., 6., 2.]])  # of 2 more samples
        >>> optimizer.update('center_loss_centers', weight, statistic, None)
        >>> weight.asnumpy()
        array([[ 1., -2.,  7.]], dtype=float32)

    References:
        Wen, Zhang, Li and Qiao, A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, eq. 4.
    """

    center_names = None  # what a symbol calls the centers, None where no symbol was seen

    def __new__(cls, base="sgd", **base_params):
        if cls is not WithCenters:  # a class mixed over a base already
            return super().__new__(cls)
        if not isinstance(base, mx.optimizer.Optimizer):
            registered = sorted(set(mx.optimizer.Optimizer.opt_registry) - {"withcenters"})
            base = mx.optimizer.Optimizer.opt_registry[_check.choice(
                "WithCenters", "base", base.lower() if isinstance(base, str) else base, registered)]
        else:
            base = type(base)
        if issubclass(base, WithCenters):
            _check.fail("WithCenters", "base", "an optimizer without centers of its own", base.__name__)
        return super().__new__(_mixed_over(base))

    def __init__(self, base="sgd", **base_params):
        if not isinstance(base, mx.optimizer.Optimizer):
            super().__init__(**base_params)
            return
        self.__dict__.update(base.__dict__)
        by_mxnet = {"sym": None, "param_idx2name": {}, "param_dict": {}, "rescale_grad": self.rescale_grad}
        for name in base_params:
            if name not in by_mxnet:
                _check.fail("WithCenters", name, "given to the optimizer that is `base`", base_params[name], TypeError)
        by_mxnet.update(base_params)
        self.rescale_grad = by_mxnet["rescale_grad"]
        self.idx2name = self.idx2name or by_mxnet["param_idx2name"].copy()
        self.param_dict = by_mxnet["param_dict"] or self.param_dict
        if by_mxnet["sym"] is not None:
            self.center_names = centers_of(by_mxnet["sym"].attr_dict())

    def set_wd_mult(self, args_wd_mult):
        if self.sym_info:  # called by the constructor of every optimizer that is made for a symbol
            attributes, _ = self.sym_info
            self.center_names = centers_of(attributes)
            for of_variable in attributes.values():
                if of_variable.get("__wd_mult__") == NEEDS_WITHCENTERS:
                    del of_variable["__wd_mult__"]
        super().set_wd_mult(args_wd_mult)

    def create_state_multi_precision(self, index, weight):
        return None if self._has_centers(index) else super().create_state_multi_precision(index, weight)

    def create_state(self, index, weight):
        return None if self._has_centers(index) else super().create_state(index, weight)

    def update(self, index, weight, grad, state):
        self._update_with(super().update, index, weight, grad, state)

    def update_multi_precision(self, index, weight, grad, state):
        self._update_with(super().update_multi_precision, index, weight, grad, state)

    def _update_with(self, update, index, weight, grad, state):
        """Move centers here and leave all else to the `update` of the base, which takes one parameter or lists."""
        if not isinstance(index, (tuple, list)):
            if self._has_centers(index):
                _move(weight, grad)
            else:
                update(index, weight, grad, state)
            return
        others = []
        for item in zip(index, weight, grad, state):
            if self._has_centers(item[0]):
                _move(item[1], item[2])
            else:
                others.append(item)
        if others:
            update(*map(list, zip(*others)))

    def _has_centers(self, index):
        """Whether `index`, a key of Trainer's, of Module's or of a kvstore's, is of the centers of a CenterLoss."""
        if index in self.param_dict:
            parameter = self.param_dict[index]
            return isinstance(parameter, CenterParameter) and parameter.rule["update"] == "average"
        name = index if isinstance(index, str) else self.idx2name.get(index, "")
        return name in self.center_names if self.center_names is not None else name.endswith("centers")

    def __reduce_ex__(self, protocol):
        base, state = type(self).base, self.__getstate__()
        if protocol == 0 and os.environ.get("DMLC_ROLE") == "worker":
            # On its way to a parameter server, which cannot import mxloss, and which gets no centers: see `guard`.
            return copyreg.__newobj__, (base,), state
        return _made_of, (base,), state


_mixed = {}


def _mixed_over(base):
    """The class of optimizers that are `base` but for the centers."""
    if base not in _mixed:
        _mixed[base] = type(base.__name__ + "WithCenters", (WithCenters, base), {"base": base, "__doc__": base.__doc__})
    return _mixed[base]


def _made_of(base):
    """An empty optimizer over `base`, for unpickling."""
    return object.__new__(_mixed_over(base))


def centers_of(attributes):
    """Names of the variables in a symbol's `attributes` that are centers which move by `center_step`."""
    return {name for name, of_variable in attributes.items() if MARK in of_variable
            and json.loads(of_variable[MARK])["update"] == "average"}


def _move(weight, grad):
    """Take the step of eq. 4 in place; `grad` may be row-sparse, and then only its rows are touched."""
    size = weight.shape[1] - 1
    if grad.stype == "row_sparse":
        rows, grad = grad.indices, grad.data
        if rows.size:
            weight[rows] = weight.take(rows) - _step(grad, size)
    else:
        weight -= _step(grad, size)


def _step(grad, size):
    """What to subtract from centers and counts."""
    count = grad.slice_axis(axis=1, begin=size, end=size + 1)
    return mx.nd.concat(center_step(grad.slice_axis(axis=1, begin=0, end=size), count), -count, dim=1)
