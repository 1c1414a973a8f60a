"""Losses: one file each, from the formula to the operator and the block."""
from . import (
    activity,
    center,
    content,
    focal,
    l2,
    margin_softmax,
    penalty,
    schedule,
    smooth_l1,
    softmax,
    style,
    total_variation,
)
from .activity import ActivityPenalty, activity_penalty
from .center import CenterLoss, center_loss, center_step
from .content import ContentLoss, content_loss
from .focal import FocalLoss, focal_loss
from .group import LossGroup
from .l2 import L2Penalty, l2_penalty
from .margin_softmax import MarginSoftmaxLoss, margin_softmax_loss
from .penalty import Penalized, WithPenalties, add_penalty
from .schedule import PiecewiseLinear, ScheduledWeight, WarmUp, piecewise_linear
from .smooth_l1 import SmoothL1Loss, smooth_l1_loss
from .softmax import SoftmaxLoss, softmax_loss
from .style import StyleLoss, gram_matrix, style_loss
from .total_variation import TotalVariationLoss, total_variation_loss

__all__ = [
    "ActivityPenalty", "CenterLoss", "ContentLoss", "FocalLoss", "L2Penalty", "LossGroup", "MarginSoftmaxLoss",
    "Penalized", "PiecewiseLinear", "ScheduledWeight", "SmoothL1Loss", "SoftmaxLoss", "StyleLoss",
    "TotalVariationLoss", "WarmUp", "WithPenalties", "activity", "activity_penalty", "add_penalty", "center",
    "center_loss", "center_step", "content", "content_loss", "focal", "focal_loss", "gram_matrix", "l2", "l2_penalty",
    "margin_softmax", "margin_softmax_loss", "penalty", "piecewise_linear", "schedule", "smooth_l1", "smooth_l1_loss",
    "softmax", "softmax_loss", "style", "style_loss", "total_variation", "total_variation_loss",
]
