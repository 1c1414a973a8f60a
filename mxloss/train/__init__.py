"""Drive MXNet's own loops: trainings that can be stopped and resumed, single steps that tell their losses."""
from .fit import fit
from .step import train_minibatch, train_step

__all__ = ["fit", "train_minibatch", "train_step"]
