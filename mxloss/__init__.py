"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import loss, operator, optimizer
from .loss import CenterLoss

__all__ = ["CenterLoss", "loss", "operator", "optimizer"]
__version__ = "0.1.0"
