"""Eq. 2 and 4 of Wen, Zhang, Li and Qiao (ECCV 2016) as plain float64 loops, written from the paper."""
import numpy as np


def center_loss_loop(feature, own_center):
    """One loss per sample, eq. 2."""
    losses = []
    for x, c in zip(feature, own_center):
        losses.append(0.5 * sum((float(a) - float(b)) ** 2 for a, b in zip(x, c)))
    return np.array(losses)


def center_step_loop(center, feature, label, alpha):
    """The centers after the step of eq. 4."""
    moved = np.array(center, dtype="float64")
    for j in range(len(center)):
        numerator, denominator = np.zeros(center.shape[1]), 1.0
        for x, y in zip(feature, label):
            if y == j:
                numerator += np.asarray(center[j], dtype="float64") - np.asarray(x, dtype="float64")
                denominator += 1
        moved[j] -= alpha * numerator / denominator
    return moved
