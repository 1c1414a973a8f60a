"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import callback, checkpoint, estimator, io, loss, metric, operator, optimizer, random, stop, train, watch
from .loss import ActivityPenalty, CenterLoss, L2Penalty, LossGroup, WithPenalties, add_penalty
from .train import train_minibatch, train_step

__all__ = ["ActivityPenalty", "CenterLoss", "L2Penalty", "LossGroup", "WithPenalties", "add_penalty", "callback",
           "checkpoint", "estimator", "io", "loss", "metric", "operator", "optimizer", "random", "stop", "train",
           "train_minibatch", "train_step", "watch"]
__version__ = "0.1.0"
