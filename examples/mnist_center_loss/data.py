"""The images: MNIST from a folder or from the network, else scikit-learn's digits."""
import contextlib
import os
from pathlib import Path
from typing import NamedTuple

import mxnet as mx
import numpy as np

from . import download, mnist
from .output import reason, whole
from .problem import Problem

CHOICES = ("auto", "mnist", "digits")
VARIABLE = "MXLOSS_MNIST_DIR"
TEST_DIGITS = 360  # of scikit-learn's 1797


class DataSet(NamedTuple):
    """Images, float32 in [0, 1], ``(count, 1, 28, 28)``, and their labels, ``(count,)``."""

    name: str
    source: str
    train_image: np.ndarray
    train_label: np.ndarray
    test_image: np.ndarray
    test_label: np.ndarray

    def __str__(self):
        return "data set: {} {}, {} training and {} test images".format(
            self.name, self.source, len(self.train_label), len(self.test_label))


def load(choice, folder=None, *, environ=os.environ, own_folder=None, mirrors=download.MIRRORS, progress=None):
    """Find the images.

    MNIST is taken from `folder`, else from the folder that MXLOSS_MNIST_DIR names, else from MXNet's own, where it
    is downloaded to if it is missing. A folder that somebody named has to hold all of it.

    Args:
        choice: 'mnist'; 'digits', the 8x8 digits inside scikit-learn; 'auto', the digits if MNIST cannot be downloaded.
        folder: where MNIST's four files are, with or without ``.gz``.
        environ: environment variables.
        own_folder: where MXNet keeps its MNIST.
        mirrors: where to download from.
        progress: told how a download goes, as `download.fetch` does.

    Raises:
        Problem: what was asked for cannot be had.
    """
    if choice == "digits":
        return digits("(8x8 digits of scikit-learn, scaled up)")
    if folder is not None:
        return _from_folder(Path(folder), "--data-dir")
    if environ.get(VARIABLE):
        return _from_folder(Path(environ[VARIABLE]), VARIABLE)
    own_folder = Path(own_folder or os.path.join(mx.base.data_dir(), "datasets", "mnist"))
    try:
        return _from_network(own_folder, mirrors, progress)
    except download.NotDownloaded as error:
        if choice == "mnist":
            raise Problem("MNIST is not in {} and cannot be downloaded ({}); name a folder with its four files by "
                          "--data-dir, or use --data digits".format(own_folder, error)) from error
        return digits("(8x8 digits of scikit-learn, scaled up, because MNIST is not in {} and cannot be downloaded: "
                      "{})".format(own_folder, error))


def cut(data, train_size, test_size):
    """The first `train_size` and `test_size` images of `data`; 0 stands for all.

    Raises:
        Problem: there are not so many, or a digit has no training image left.
    """
    sizes = []
    for option, wanted, label in (("--train-size", train_size, data.train_label),
                                  ("--test-size", test_size, data.test_label)):
        if wanted > len(label):
            raise Problem("{} must be at most {}, which is what {} has, got {}".format(
                option, len(label), data.name, wanted))
        sizes.append(wanted or len(label))
    first = [int(np.argmax(data.train_label == digit)) for digit in np.unique(data.train_label)]
    if sizes[0] <= max(first):
        raise Problem("--train-size must be at least {}, for an image of each digit, got {}".format(
            max(first) + 1, train_size))
    return data._replace(train_image=data.train_image[:sizes[0]], train_label=data.train_label[:sizes[0]],
                         test_image=data.test_image[:sizes[1]], test_label=data.test_label[:sizes[1]])


def digits(source):
    """The digits of scikit-learn as 28x28 images, always split in the same way."""
    from sklearn.datasets import load_digits  # only those who need it

    found = load_digits()
    image, label = enlarged(found.images.astype(np.float32) / 16), found.target.astype(np.float32)
    order = np.random.RandomState(0).permutation(len(label))
    test, train = order[:TEST_DIGITS], order[TEST_DIGITS:]
    return DataSet("digits", source, image[train], label[train], image[test], label[test])


def enlarged(image):
    """Images ``(count, 8, 8)`` as ``(count, 1, 28, 28)``: interpolated to 24x24, in a frame of zeros."""
    old, new = image.shape[1], 24
    position = (np.arange(new) + 0.5) * old / new - 0.5
    weight = np.maximum(0, 1 - np.abs(position.clip(0, old - 1)[:, None] - np.arange(old)))  # (24, 8), linear
    large = np.einsum("pi,nij,qj->npq", weight, image, weight)
    return np.pad(large, ((0, 0), (2, 2), (2, 2)))[:, None].astype(np.float32)


def _from_folder(folder, named_by):
    """MNIST from the folder that the option or variable `named_by` names."""
    try:
        contents = {name: mnist.read(folder, name) for name in mnist.FILES}
    except FileNotFoundError as error:
        missing = Path(error.filename).name if folder.is_dir() else "the folder itself"
        raise Problem("{} must name a folder with MNIST's four files, with or without .gz; in {} is missing: {}".format(
            named_by, folder, missing)) from error
    except OSError as error:
        raise Problem("{} must name a folder with MNIST's four files; {} cannot be read: {}".format(
            named_by, error.filename or folder, reason(error))) from error
    except mnist.Damaged as error:
        raise Problem("{} must name a folder with MNIST's four files; replace one in {}: {}".format(
            named_by, folder, error)) from error
    return DataSet("MNIST", "from {}".format(folder), *mnist.arrays(contents))


def _from_network(folder, mirrors, progress):
    """MNIST from `folder`, after the download of what is missing or damaged there."""
    contents = {}
    for name in mnist.FILES:
        with contextlib.suppress(OSError, mnist.Damaged):
            contents[name] = mnist.read(folder, name)
    missing = [name for name in mnist.FILES if name not in contents]
    source = "from {}".format(folder)
    for name, packed in download.fetch(missing, mirrors, progress=progress):
        contents[name] = mnist.unpack(name, packed)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with whole(folder / (name + ".gz")) as temporary:
                temporary.write_bytes(packed)
            source = "downloaded to {}".format(folder)
        except (OSError, Problem):  # a home that cannot be written to is no reason not to train
            source = "downloaded, not kept: {} cannot be written to".format(folder)
    return DataSet("MNIST", source, *mnist.arrays(contents))
