"""Losses, metrics and training parts for Apache MXNet 1.9: ``import mxloss`` registers them all."""
from . import (
    callback,
    checkpoint,
    estimator,
    functional,
    io,
    loss,
    metric,
    operator,
    optimizer,
    random,
    stop,
    train,
    watch,
    workers,
)
from .loss import (
    ActivityPenalty,
    CenterLoss,
    ContentLoss,
    FocalLoss,
    L2Penalty,
    LossGroup,
    MarginSoftmaxLoss,
    SmoothL1Loss,
    SoftmaxLoss,
    StyleLoss,
    TotalVariationLoss,
    WithPenalties,
    activity_penalty,
    add_penalty,
    center_loss,
    content_loss,
    focal_loss,
    gram_matrix,
    l2_penalty,
    margin_softmax_loss,
    smooth_l1_loss,
    softmax_loss,
    style_loss,
    total_variation_loss,
)
from .train import fit, train_minibatch, train_step

__all__ = [
    "ActivityPenalty", "CenterLoss", "ContentLoss", "FocalLoss", "L2Penalty", "LossGroup", "MarginSoftmaxLoss",
    "SmoothL1Loss", "SoftmaxLoss", "StyleLoss", "TotalVariationLoss", "WithPenalties", "activity_penalty",
    "add_penalty", "callback", "center_loss", "checkpoint", "content_loss", "estimator", "fit", "focal_loss",
    "functional", "gram_matrix", "io", "l2_penalty", "loss", "margin_softmax_loss", "metric", "operator",
    "optimizer", "random", "smooth_l1_loss", "softmax_loss", "stop", "style_loss", "total_variation_loss", "train",
    "train_minibatch", "train_step", "watch", "workers",
]
__version__ = "0.1.0"
