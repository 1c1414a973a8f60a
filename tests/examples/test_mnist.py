"""MNIST's files: what is right is read, what is not is named."""
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from examples.mnist_center_loss import mnist

from .conftest import fill

IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize("packed", [True, False])
def test_files_are_read_packed_or_not(tmp_path, miniature, packed):
    fill(tmp_path, miniature, packed)
    for name, content in miniature.items():
        assert mnist.read(tmp_path, name) == content


def test_images_lie_between_0_and_1_and_labels_are_theirs(miniature):
    train_image, train_label, test_image, test_label = mnist.arrays(miniature)
    assert train_image.shape == (30, 1, 28, 28)
    assert test_image.shape == (20, 1, 28, 28)
    assert train_image.dtype == train_label.dtype == np.float32
    assert train_image.min() == 0
    assert train_image.max() == 1
    assert train_image[2, 0, 3, 5] == np.float32(miniature[IMAGES][16 + 2 * 784 + 3 * 28 + 5] / 255)
    assert test_label.tolist() == [digit % 10 for digit in range(20)]


def damaged(packed, content, how):
    if how == "half of the packed file":
        return packed[:len(packed) // 2]
    if how == "no packed file":
        return b"<html>"
    if how == "empty":
        return b""
    if how == "a byte of the packed file changed":
        middle = len(packed) // 2
        return packed[:middle] + bytes([packed[middle] ^ 255]) + packed[middle + 1:]
    if how == "packed, too short":
        return gzip.compress(content[:-1])
    if how == "packed, too long":
        return gzip.compress(content + b"\0")
    return gzip.compress(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize(("how", "words"), [
    ("half of the packed file", "truncated"),
    ("no packed file", "not a gzip file"),
    ("empty", "truncated"),
    ("a byte of the packed file changed", "damaged|MD5|truncated"),
    ("packed, too short", "truncated"),
    ("packed, too long", "MD5"),
    ("a byte of the content changed", "MD5"),
])
def test_a_damaged_file_is_named(tmp_path, miniature, name, how, words):
    fill(tmp_path, miniature)
    path = tmp_path / (name + ".gz")
    path.write_bytes(damaged(path.read_bytes(), miniature[name], how))
    with pytest.raises(mnist.Damaged, match=name + ".*(" + words + ")"):
        mnist.read(tmp_path, name)


@pytest.mark.parametrize(("content", "words"), [(b"", "truncated: 0 of 28 bytes"), (b"\1" * 28, "another content")])
def test_a_damaged_file_is_named_that_is_not_packed(tmp_path, miniature, content, words):
    (tmp_path / LABELS).write_bytes(content)
    with pytest.raises(mnist.Damaged, match="^" + LABELS + ".*" + words):
        mnist.read(tmp_path, LABELS)


def test_a_missing_file_is_not_found(tmp_path, miniature):
    with pytest.raises(FileNotFoundError):
        mnist.read(tmp_path, LABELS)


@pytest.mark.skipif(not os.environ.get("MXLOSS_MNIST_DIR"), reason="MXLOSS_MNIST_DIR does not name MNIST's folder")
def test_the_original_files_are_what_is_expected():
    folder = Path(os.environ["MXLOSS_MNIST_DIR"])
    arrays = mnist.arrays({name: mnist.read(folder, name) for name in mnist.FILES})
    assert [len(array) for array in arrays] == [60000, 60000, 10000, 10000]
    assert arrays[1][:5].tolist() == [5, 0, 4, 1, 9]
    assert arrays[3][:5].tolist() == [7, 2, 1, 0, 4]
    assert arrays[0].mean() == pytest.approx(0.1307, abs=1e-4)
