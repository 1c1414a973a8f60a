"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import callback, functional, io, loss, operator
from .loss import (
    ContentLoss,
    FocalLoss,
    MarginSoftmaxLoss,
    SmoothL1Loss,
    SoftmaxLoss,
    StyleLoss,
    TotalVariationLoss,
    content_loss,
    focal_loss,
    gram_matrix,
    margin_softmax_loss,
    smooth_l1_loss,
    softmax_loss,
    style_loss,
    total_variation_loss,
)

__all__ = [
    "ContentLoss", "FocalLoss", "MarginSoftmaxLoss", "SmoothL1Loss", "SoftmaxLoss", "StyleLoss", "TotalVariationLoss",
    "callback", "content_loss", "focal_loss", "functional", "gram_matrix", "io", "loss", "margin_softmax_loss",
    "operator", "smooth_l1_loss", "softmax_loss", "style_loss", "total_variation_loss",
]
__version__ = "0.1.0"
