"""Losses: one file each, from the formula to the operator and the block."""
from . import center
from .center import CenterLoss, center_loss, center_step

__all__ = ["CenterLoss", "center", "center_loss", "center_step"]
