"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import callback, io, loss, metric, operator

__all__ = ["callback", "io", "loss", "metric", "operator"]
__version__ = "0.1.0"
