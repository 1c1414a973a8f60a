"""The pictures: whole PNGs with a panel per model, or per loss."""
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


def test_every_loss_has_a_panel_with_a_line_for_each_model_and_split(tmp_path):
    records = [{"model": model, "epoch": epoch, "split": split, "partial": False, "accuracy": loss / 4 + 0.1 * epoch,
                "softmax_loss": loss / epoch, **({"center_loss": 0.1 / epoch} if model == "b" else {})}
               for epoch in (1, 2, 3) for model, loss in (("a", 1.0), ("b", 2.0)) for split in ("train", "validation")]
    records.append(dict(records[0], partial=True, softmax_loss=1e9))
    records[2]["softmax_loss"] = None  # was not finite
    picture.draw_losses(tmp_path / "losses.png", records, {"a": "model a", "b": "model b"})
    image = matplotlib.image.imread(str(tmp_path / "losses.png"))[:, :, :3]
    thirds = np.array_split(image[:int(0.9 * len(image))], 3, axis=1)  # without the legend below
    for number, models in enumerate(["ab", "b", "ab"]):
        for color, model in zip(picture.COLORS, "ab"):
            wanted = np.array([int(color[i:i + 2], 16) for i in (1, 3, 5)]) / 255
            assert (np.abs(thirds[number] - wanted).max(axis=2) < 0.02).any() == (model in models)


def test_without_a_whole_epoch_there_is_no_picture_of_losses(tmp_path):
    picture.draw_losses(tmp_path / "losses.png", [], {"a": "model a"})
    assert not list(tmp_path.iterdir())
