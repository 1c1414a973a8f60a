"""Losses: one file each, from the formula to the operator and the block."""
from . import center
from .center import CenterLoss, center_loss, center_step
from .group import LossGroup

__all__ = ["CenterLoss", "LossGroup", "center", "center_loss", "center_step"]
