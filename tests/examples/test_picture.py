"""The picture: a whole PNG with a panel per model."""
import os

import matplotlib.image
import numpy as np
import pytest

from examples.mnist_center_loss import picture
from examples.mnist_center_loss.problem import Problem


@pytest.fixture
def panels(rng):
    label = np.arange(60) % 10
    numbers = {"test_accuracy": 0.9, "nearest_center_accuracy": 0.8, "distance_ratio": None}
    centers = np.stack([10 * np.cos(np.arange(10)), 4 * np.sin(np.arange(10))], axis=1)
    return [picture.Panel(title, numbers, centers[label] + rng.randn(60, 2), label, centers) for title in ("a", "b")]


def test_ten_digits_have_ten_colours():
    assert len(set(picture.COLORS)) == 10


def test_the_picture_shows_every_colour_in_both_halves(tmp_path, panels):
    picture.draw(tmp_path / "embedding.png", panels, "heading")
    assert os.listdir(str(tmp_path)) == ["embedding.png"]
    image = matplotlib.image.imread(str(tmp_path / "embedding.png"))[:, :, :3]
    assert image.shape[0] > 600
    assert image.shape[1] > 1200
    width = image.shape[1]
    for part in (image[:, :width // 2], image[:, width // 2:width * 9 // 10]):  # the legend is right of them
        for color in picture.COLORS:
            wanted = np.array([int(color[i:i + 2], 16) for i in (1, 3, 5)]) / 255
            assert (np.abs(part - wanted).max(axis=2) < 0.02).any(), color  # the rings around the centers


def test_a_picture_that_cannot_be_written_is_a_problem(tmp_path, panels):
    with pytest.raises(Problem, match="^cannot write .*embedding.png: No such file or directory"):
        picture.draw(tmp_path / "gone" / "embedding.png", panels, "heading")
