"""Center loss with one set of centers for all devices and workers: the block, for arrays and symbols."""
import json

import mxnet as mx
import numpy as np

from ... import _check
from ...functional import auxiliary, one_where
from .._block import LossBlock
from .operator import center_loss

#: What marks a variable of a symbol, saved or not, as the centers of a CenterLoss: a JSON text with what the loss is.
MARK = "__center_loss__"
#: MXNet turns this attribute into a number when an optimizer is made for a symbol. That is the one place where a
#: network can speak up against an optimizer that knows nothing of eq. 4, also where mxloss was not imported.
NEEDS_WITHCENTERS = _check.sentence("CenterLoss", "optimizer", "'withcenters' (import mxloss), which moves centers by "
                                    "eq. 4, or the loss made with update='gradient'", "one that would ruin them")


class CenterParameter(mx.gluon.Parameter):
    """The centers of a `CenterLoss` as the Trainer and the optimizer know them apart from other parameters."""

    @classmethod
    def mark(cls, parameter, rule):
        """Turn a plain Parameter into centers; `rule` is a dict of the loss's update, num_class and ignore_label."""
        parameter.__class__ = cls
        parameter.rule = rule
        parameter._var = None
        if parameter.grad_req == "add":
            parameter._refuse_accumulation("add")
        return parameter

    def var(self):
        if self._var is None:
            attributes = {MARK: json.dumps(self.rule)}
            if self.rule["update"] == "average":
                attributes["__wd_mult__"] = NEEDS_WITHCENTERS
            self._var = mx.sym.var(self.name, shape=self.shape, dtype=self.dtype, init=self.init, attr=attributes)
        return self._var

    @property
    def grad_req(self):
        return self._grad_req

    @grad_req.setter
    def grad_req(self, req):
        self._refuse_accumulation(req)
        mx.gluon.Parameter.grad_req.fset(self, req)

    def _refuse_accumulation(self, req):
        if req == "add" and self._grad_stype == "row_sparse":
            _check.fail("CenterLoss", "grad_req", "'write' with sparse_grad=True, for MXNet cannot add row-sparse "
                        "gradients", req)


class CenterLoss(LossBlock):
    """`center_loss` of features to centers that it learns, one set for all devices and workers.

    Called with ``(feature, label, sample_weight=None)``, arrays or symbols, it returns weight * `center_loss` of each
    sample, ``(batch,)`` in `dtype`, to which features are cast. `label` is ``(batch,)`` or ``(batch, 1)`` of any
    number type. `sample_weight`, of the same shape, scales a sample's loss and gradient; 0 means absent, for the
    centers too.

    The centers are *one* parameter ``<prefix>centers``, ``(num_class, feature_size + 1)``: a row is a class, its center
    and how many samples have moved it. In place of a gradient it has what `center_step` needs, the sum of
    alpha * (center - feature) and the number of samples, which adds up over devices and workers like any gradient.
    `mxloss.optimizer.WithCenters` takes the step from there, whatever the learning rate, `weight` or batch size.

    Args:
        num_class: number of classes, at least 1; labels are whole numbers from 0 to num_class - 1.
        feature_size: length of a feature.
        alpha: how far the centers move towards their samples in a step, in [0, 1].
        weight: scale of the loss and of its gradient, at least 0: a number, which can be changed while training, see
            `weight`; or a schedule (`mxloss.WarmUp`, `mxloss.PiecewiseLinear`).
        update: 'average' moves the centers by `center_step`; with 'gradient' they are a plain parameter
            ``<prefix>center_weight``, ``(num_class, feature_size)``, for any optimizer, and `alpha` has no part in it.
        ignore_label: samples with this label are absent, for the centers too.
        sparse_grad: let a step cost what the batch costs and not what the number of classes costs.
        dtype: 'float32' or 'float64', of the centers and the loss; `cast` leaves it alone. Counts are exact up to
            2^24 samples of a class in float32.

    Raises:
        ValueError: for a label that is no class. Where Python sees the labels it names the label and its row.
            Inside a graph, `Trainer.step` and `Module.update` raise it before that batch has changed anything.

    Examples:
        >>> loss = CenterLoss(num_class=3, feature_size=2, weight=0.1)
        >>> loss.initialize()
        >>> feature, label = mx.nd.array([[3., 4.], [1., 1.]]), mx.nd.array([2, 0])
        >>> trainer = mx.gluon.Trainer(loss.collect_params(), 'withcenters', {'base': 'sgd'})
        >>> with mx.autograd.record():
        ...     value = loss(feature, label)
        >>> value.asnumpy()
        array([1.25, 0.1 ], dtype=float32)
        >>> value.backward()
        >>> trainer.step(2)
        >>> loss.class_centers().asnumpy()
        array([[0.25, 0.25],
               [0.  , 0.  ],
               [0.75, 1.  ]], dtype=float32)
        >>> loss.class_counts().asnumpy()
        array([1., 0., 1.], dtype=float32)
    """

    inputs = ("feature", "label", "sample_weight")

    def __init__(self, num_class, feature_size, *, alpha=0.5, weight=1.0, update="average", ignore_label=None,
                 sparse_grad=False, dtype="float32", prefix=None, params=None):
        super().__init__(weight=weight, prefix=prefix, params=params)
        self._num_class = _check.integer("CenterLoss", "num_class", num_class, low=1)
        self._feature_size = _check.integer("CenterLoss", "feature_size", feature_size, low=1)
        self._alpha = _check.number("CenterLoss", "alpha", alpha, 0, 1)
        self._update = _check.choice("CenterLoss", "update", update, ("average", "gradient"))
        if update == "gradient" and self._alpha != 0.5:
            _check.fail("CenterLoss", "alpha", "left out with update='gradient', where the optimizer sets the pace",
                        alpha)
        self._ignore_label = ignore_label
        if ignore_label is not None:
            _check.integer("CenterLoss", "ignore_label", ignore_label)
        self._sparse_grad = _check.flag("CenterLoss", "sparse_grad", sparse_grad)
        self._dtype = _check.choice("CenterLoss", "dtype", np.dtype(dtype).name, ("float32", "float64"))
        name, width = ("centers", feature_size + 1) if update == "average" else ("center_weight", feature_size)
        self.centers = CenterParameter.mark(self.params.get(
            name, shape=(num_class, width), dtype=self._dtype, init=mx.init.Zero(),
            grad_stype="row_sparse" if sparse_grad else "default"),
            {"update": update, "num_class": self._num_class,
             "ignore_label": None if ignore_label is None else int(ignore_label)})
        if self._scheduled is None:
            self.loss_weight = self.params.get("weight", shape=(1,), dtype=self._dtype, grad_req="null",
                                               differentiable=False, init=mx.init.Constant(self._weight))

    @property
    def weight(self):
        """Scale of the loss now; assign to it, or call `set_weight`, to change it while training."""
        if self._scheduled is not None:
            return self._scheduled.weight
        return float(self.loss_weight.list_data()[0].asscalar() if self.loss_weight._data else self._weight)

    @weight.setter
    def weight(self, weight):
        self.set_weight(weight)

    def set_weight(self, weight, module=None):
        """Change the scale of the loss from the next batch on, on every device, hybridized or not, without rebinding.

        It is kept in ``<prefix>weight``, which no optimizer and no kvstore touches, and is saved with the parameters.
        On several machines each worker has to make the call.

        Args:
            weight: scale of the loss and of its gradient, at least 0; never of the centers' step.
            module: the Module that trains a network made of this loss and symbols; without one the block's own
                parameter is changed.
        """
        if self._scheduled is not None:
            _check.fail("CenterLoss", "weight", "left to its schedule, " + repr(self._weight), weight)
        weight = _check.number("CenterLoss", "weight", weight, 0)
        if module is not None:
            # Not among the arguments, which the kvstore would set back, but among the auxiliary states.
            value = mx.nd.full((1,), weight, dtype=self._dtype)
            module.set_params({}, {self.loss_weight.name: value}, allow_missing=True)
        elif self.loss_weight._data:
            for array in self.loss_weight.list_data():  # set_data would make the Trainer forget its optimizer's states
                array[:] = weight
        else:
            self._weight = weight
            self.loss_weight.init, self.loss_weight._var = mx.init.Constant(weight), None

    def class_centers(self, params=None):
        """Centers, ``(num_class, feature_size)``, of this block or out of `params`, like ``Module.get_params()[0]``."""
        return self._columns(params, 0, self._feature_size)

    def class_counts(self, params=None):
        """How many samples have moved each center, ``(num_class,)``; `params` as in `class_centers`."""
        if self._update == "gradient":
            _check.fail("CenterLoss", "update", "'average', for only then samples are counted", self._update)
        return self._columns(params, self._feature_size, self._feature_size + 1).reshape((-1,))

    def _columns(self, params, begin, end):
        name = self.centers.name
        if params is None:
            table = self.centers.list_data()[0]
        else:
            table = params[_check.names("CenterLoss", "params", name, list(params))[0]]
        return table.slice_axis(axis=1, begin=begin, end=end)

    def cast(self, dtype):
        """Nothing: float16 networks have the centers of their `dtype`."""

    def _check_arrays(self, who, feature, label, sample_weight=None):
        """Raise for what cannot be trained on, before anything is computed; waits for labels and sample weights."""
        batch, _ = _check.rank(who, "feature", feature.shape, 2, "(batch, feature_size)")
        _check.shape(who, "feature", feature.shape, (batch, self._feature_size))
        for name, array in (("label", label), ("sample_weight", sample_weight)):
            if array is not None and array.shape != (batch, 1):
                _check.shape(who, name, array.shape, (batch,))
        _check.class_type(who, self._num_class, label.dtype)
        labels = label.asnumpy().reshape(-1)
        if sample_weight is not None:
            labels = np.where(sample_weight.asnumpy().reshape(-1) == 0, 0, labels)
        _check.classes(who, labels, self._num_class, self._ignore_label)

    def hybrid_forward(self, F, feature, label, sample_weight=None, *, centers, loss_weight=None):
        feature = F.cast(feature, dtype=self._dtype)
        if sample_weight is not None:
            sample_weight = F.reshape(F.cast(sample_weight, dtype=self._dtype), shape=(-1,))
        label, present = self._label(F, feature, label, sample_weight)
        own = F.Embedding(label, centers, input_dim=self._num_class, output_dim=self.centers.shape[1],
                          dtype=self._dtype, sparse_grad=self._sparse_grad)
        if self._update == "gradient":
            center = own
        else:
            center = F.BlockGrad(F.slice_axis(own, axis=1, begin=0, end=self._feature_size))
        if present is not None:  # not a product with 0: an absent sample may be NaN
            feature = F.where(present, feature, center)
        loss = center_loss(feature, center)
        if loss_weight is None:
            loss = self._weighted(loss)
        else:
            loss = F.broadcast_mul(loss, auxiliary(loss_weight, self._dtype))
        if sample_weight is not None:
            loss = loss * F.where(present, sample_weight, F.zeros_like(sample_weight))
        if self._update == "average":
            loss = loss + self._riding_along(F, feature, center, own, present)
        return loss

    def _label(self, F, feature, label, sample_weight):
        """Labels as float64 ``(batch,)``, each of them a class, and which samples are present, None for all."""
        # By that name `class_labels` finds the labels that can be checked before they are weighted.
        label = F.BlockGrad(label, name="label" if sample_weight is None else "weighted_label") if F is mx.sym \
            else F.BlockGrad(label)
        number = F.reshape(F.cast(label, dtype="float64"), shape=(-1,))
        if F is mx.sym:
            number = number + self._label_like(F, feature, label)
        present = None
        if self._ignore_label is not None:
            present = number != self._ignore_label
        if sample_weight is not None:
            weighted = F.cast(sample_weight != 0, dtype="float64")
            present = weighted if present is None else present * weighted
        if F is mx.sym:
            valid = (number >= 0) * (number <= self._num_class - 1) * (F.floor(number) == number)
            if present is not None:
                valid = F.maximum(valid, 1 - present)
            number = number * one_where(valid, "float64", who="CenterLoss")
        if present is not None:
            number = F.where(present, number, F.zeros_like(number))
        return number, present

    def _label_like(self, F, feature, label):
        """Zeros ``(batch,)`` that tell MXNet of which shape and type a label is that a network was bound without.

        Of all operators these two take a (batch, 1) label, and one of any type, for what it is, and otherwise assume
        (batch,) and float32.
        """
        zero = F.zeros_like(F.BlockGrad(F.slice_axis(feature, axis=1, begin=0, end=1)))
        of_shape = F.LinearRegressionOutput(F.cast(zero, dtype="float64"), F.cast(label, dtype="float64"))
        of_type = F.SequenceMask(F.cast(F.reshape(zero, shape=(1, -1)), dtype="float32"),
                                 F.ones_like(F.reshape(label, shape=(-1,))), use_sequence_length=True)
        return F.BlockGrad(F.reshape(of_shape, shape=(-1,)) + F.cast(F.reshape(of_type, shape=(-1,)), dtype="float64"))

    def _riding_along(self, F, feature, center, own, present):
        """0 for each sample, whose gradient to `own` is what `center_step` needs: alpha * (center - feature) and 1."""
        count = F.slice_axis(own, axis=1, begin=self._feature_size, end=self._feature_size + 1)
        one = F.ones_like(count) if present is None else F.cast(F.expand_dims(present, axis=1), dtype=self._dtype)
        if F is mx.sym:
            one = one * one_where(F.BlockGrad((count >= 0) * (F.floor(count) == count)), self._dtype, who="CenterLoss")
        statistic = F.BlockGrad(F.concat(self._alpha * (center - feature), one, dim=1))
        # MakeLoss takes no notice of what stands above it: no weight, no loss scale, and not that one column is used.
        rider = F.slice_axis(F.MakeLoss(own * statistic), axis=1, begin=0, end=1)
        return 0 * F.reshape(rider, shape=(-1,))
