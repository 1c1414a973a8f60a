"""Center loss (Wen, Zhang, Li and Qiao, 2016): formula and operator, and the block whose centers are one parameter."""
from .block import CenterLoss, CenterParameter
from .graph import class_labels
from .operator import center_loss, center_step

__all__ = ["CenterLoss", "CenterParameter", "center_loss", "center_step", "class_labels"]
