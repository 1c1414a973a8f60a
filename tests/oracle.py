"""The whole training step of a small network with a center loss, in NumPy, float64 and plain loops.

Written from the formulas: a network of two tanh layers and a softmax layer, cross entropy plus weight * eq. 2,
gradients summed over the batch, SGD with momentum, and eq. 4 for the centers. No devices, no workers: one batch, one
step.
"""
import numpy as np

LAYERS = ("hidden", "embedding", "output")


class Oracle:
    """Weights, momenta, centers and counts, and `step`, which moves them all by one batch."""

    def __init__(self, weights, num_class, *, alpha=0.5, weight=1.0, momentum=0.0, update="average"):
        self.weights = {name: np.array(value, dtype=np.float64) for name, value in weights.items()}
        feature_size = self.weights["embedding_weight"].shape[0]
        self.centers = np.zeros((num_class, feature_size))
        self.counts = np.zeros(num_class)
        self.alpha, self.weight, self.momentum, self.update = alpha, weight, momentum, update
        self.velocity = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self.center_velocity = np.zeros_like(self.centers)

    def step(self, data, label, *, lr, rescale, sample_weight=None):
        """Train on one batch; returns the center loss of each sample before the step."""
        sample_weight = np.ones(len(label)) if sample_weight is None else sample_weight
        gradient = {name: np.zeros_like(value) for name, value in self.weights.items()}
        losses, total, count = [], np.zeros_like(self.centers), np.zeros_like(self.counts)
        to_centers = np.zeros_like(self.centers)
        for x, y, w in zip(np.asarray(data, dtype=np.float64), np.asarray(label, dtype=int), sample_weight):
            hidden = np.tanh(self.weights["hidden_weight"] @ x + self.weights["hidden_bias"])
            feature = np.tanh(self.weights["embedding_weight"] @ hidden + self.weights["embedding_bias"])
            score = self.weights["output_weight"] @ feature + self.weights["output_bias"]
            probability = np.exp(score - score.max())
            probability /= probability.sum()

            distance = feature - self.centers[y]
            losses.append(self.weight * w * 0.5 * (distance ** 2).sum())
            if w != 0:
                total[y] -= distance
                count[y] += 1
                to_centers[y] -= self.weight * w * distance

            to_score = probability - np.eye(len(score))[y]
            to_feature = self.weights["output_weight"].T @ to_score + self.weight * w * distance
            to_embedding = to_feature * (1 - feature ** 2)
            to_hidden = (self.weights["embedding_weight"].T @ to_embedding) * (1 - hidden ** 2)
            for layer, to_layer, below in zip(LAYERS, (to_hidden, to_embedding, to_score), (x, hidden, feature)):
                gradient[layer + "_weight"] += np.outer(to_layer, below)
                gradient[layer + "_bias"] += to_layer
        for name, value in self.weights.items():
            self.velocity[name] = self.momentum * self.velocity[name] - lr * rescale * gradient[name]
            value += self.velocity[name]
        if self.update == "average":
            for j in range(len(self.centers)):
                self.centers[j] -= self.alpha * total[j] / (1 + count[j])
        else:
            self.center_velocity = self.momentum * self.center_velocity - lr * rescale * to_centers
            self.centers += self.center_velocity
        self.counts += count
        return np.array(losses)


def assert_agree(oracle, weights, centers, counts, tolerance=1e-6):
    """All that a training has moved is what the oracle has, within `tolerance` of the oracle's own scale."""
    for name, value in oracle.weights.items():
        _assert_close(name, weights[name], value, tolerance)
    _assert_close("centers", centers, oracle.centers, tolerance)
    if counts is not None:
        np.testing.assert_array_equal(counts, oracle.counts)


def _assert_close(name, value, wanted, tolerance):
    error, scale = np.abs(np.asarray(value) - wanted).max(), np.abs(wanted).max()
    assert error <= tolerance * scale, "{}: off by {:.2e} of {:.2e}".format(name, error, scale)
