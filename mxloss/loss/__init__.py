"""Losses: one file each, from the formula to the operator and the block."""
from . import center
from .center import center_loss

__all__ = ["center", "center_loss"]
