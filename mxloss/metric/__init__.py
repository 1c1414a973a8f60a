"""Read every loss of a network as it is optimised, per item, from the training pass itself.

Usage::

    net = mx.sym.Group([mx.sym.SoftmaxOutput(fc, label, name='softmax'), mx.sym.MakeLoss(center, name='center_loss')])
    metric = mxloss.metric.from_symbol(net)      # accuracy, softmax_loss, center_loss, total_loss
    module.fit(train, eval_metric=metric)

    metric.get_name_value()                      # since `reset_local`, for Speedometer
    metric.get_global_name_value()               # since `reset`, for the epoch
"""
from .base import HeadMetric, Metric
from .group import Group
from .loss import Loss
from .measure import (
    Accuracy,
    CenterAccuracy,
    CenterDistance,
    CenterSpread,
    ClassAccuracy,
    FeatureNorm,
    TopK,
)
from .symbol import from_symbol

__all__ = ["Accuracy", "CenterAccuracy", "CenterDistance", "CenterSpread", "ClassAccuracy", "FeatureNorm", "Group",
           "HeadMetric", "Loss", "Metric", "TopK", "from_symbol"]
