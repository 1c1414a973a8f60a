"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import callback, checkpoint, io, loss, metric, operator, random, stop, train, watch
from .loss import LossGroup
from .train import fit, train_minibatch, train_step

__all__ = ["LossGroup", "callback", "checkpoint", "fit", "io", "loss", "metric", "operator", "random", "stop", "train",
           "train_minibatch", "train_step", "watch"]
__version__ = "0.1.0"
