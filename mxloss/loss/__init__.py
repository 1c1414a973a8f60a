"""Losses: one file each, from the formula to the operator and the block."""
from . import center, content, focal, margin_softmax, smooth_l1, softmax, style, total_variation
from .center import center_loss
from .content import ContentLoss, content_loss
from .focal import FocalLoss, focal_loss
from .margin_softmax import MarginSoftmaxLoss, margin_softmax_loss
from .smooth_l1 import SmoothL1Loss, smooth_l1_loss
from .softmax import SoftmaxLoss, softmax_loss
from .style import StyleLoss, gram_matrix, style_loss
from .total_variation import TotalVariationLoss, total_variation_loss

__all__ = [
    "ContentLoss", "FocalLoss", "MarginSoftmaxLoss", "SmoothL1Loss", "SoftmaxLoss", "StyleLoss", "TotalVariationLoss",
    "center", "center_loss", "content", "content_loss", "focal", "focal_loss", "gram_matrix", "margin_softmax",
    "margin_softmax_loss", "smooth_l1", "smooth_l1_loss", "softmax", "softmax_loss", "style", "style_loss",
    "total_variation", "total_variation_loss",
]
