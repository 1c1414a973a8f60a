"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import callback, io, loss, metric, operator, optimizer, train
from .loss import CenterLoss, LossGroup
from .train import train_minibatch, train_step

__all__ = ["CenterLoss", "LossGroup", "callback", "io", "loss", "metric", "operator", "optimizer", "train",
           "train_minibatch", "train_step"]
__version__ = "0.1.0"
