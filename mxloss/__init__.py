"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import loss, operator

__all__ = ["loss", "operator"]
__version__ = "0.1.0"
