"""Losses: one file each, from the formula to the operator and the block."""
from . import activity, center, l2, penalty
from .activity import ActivityPenalty, activity_penalty
from .center import CenterLoss, center_loss, center_step
from .group import LossGroup
from .l2 import L2Penalty, l2_penalty
from .penalty import Penalized, WithPenalties, add_penalty

__all__ = ["ActivityPenalty", "CenterLoss", "L2Penalty", "LossGroup", "Penalized", "WithPenalties", "activity",
           "activity_penalty", "add_penalty", "center", "center_loss", "center_step", "l2", "l2_penalty", "penalty"]
