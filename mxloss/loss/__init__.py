"""Losses: one file each, from the formula to the operator and the block."""
from . import center
from .center import center_loss
from .group import LossGroup

__all__ = ["LossGroup", "center", "center_loss"]
