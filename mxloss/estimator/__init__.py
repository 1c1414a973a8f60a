"""Gluon's Estimator for networks with several outputs and named losses, on several devices.

Usage::

    losses = mxloss.LossGroup({'softmax': gluon.loss.SoftmaxCELoss(), 'center': center}, outputs={'center': 1})
    trainer = gluon.Trainer({**net.collect_params(), **losses.collect_params()}, 'withcenters', {'base': 'sgd'})
    estimator = mxloss.estimator.Estimator(net, losses, trainer=trainer)       # in place of gluon.contrib.estimator's
    estimator.fit(train, validation, epochs=10)
"""
from .batch import BatchProcessor, PartLosses
from .estimator import Estimator
from .handler import GradientUpdateHandler, MetricHandler
from .loader import DataIterLoader
from .stop import CheckpointHandler, StopHandler
from .watch import MetricsFile, ProgressBar, TensorBoard

__all__ = ["BatchProcessor", "CheckpointHandler", "DataIterLoader", "Estimator", "GradientUpdateHandler",
           "MetricHandler", "MetricsFile", "PartLosses", "ProgressBar", "StopHandler", "TensorBoard"]
