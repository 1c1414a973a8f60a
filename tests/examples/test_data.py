"""Which images are taken, and what is said where there are none."""
import gzip

import numpy as np
import pytest

from examples.mnist_center_loss import data, mnist
from examples.mnist_center_loss.problem import Problem

from .conftest import fill

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.fixture
def places(tmp_path, miniature):
    """Folders of each kind, of which the test fills some; the server of nothing."""
    return {"folder": tmp_path / "given", "environ": {}, "own_folder": tmp_path / "own", "mirrors": []}


@pytest.mark.parametrize("choice", ["auto", "mnist"])
def test_the_given_folder_comes_before_the_variable_and_that_before_mxnets_own(places, miniature, choice, tmp_path):
    places["environ"] = {data.VARIABLE: str(fill(tmp_path / "variable", miniature))}
    fill(places["folder"], miniature)
    fill(places["own_folder"], miniature)
    assert data.load(choice, **places).source == "from {}".format(tmp_path / "given")
    places["folder"] = None
    assert data.load(choice, **places).source == "from {}".format(tmp_path / "variable")
    places["environ"] = {data.VARIABLE: ""}
    found = data.load(choice, **places)
    assert str(found) == "data set: MNIST from {}, 30 training and 20 test images".format(tmp_path / "own")


@pytest.mark.parametrize("choice", ["auto", "mnist"])
@pytest.mark.parametrize("named_by", ["--data-dir", data.VARIABLE])
@pytest.mark.parametrize(("harm", "words"), [
    ("no folder", "is missing: the folder itself"),
    ("a file", "is missing: the folder itself|cannot be read: .*is not a folder"),
    ("nothing in it", "is missing: train-images-idx3-ubyte"),
    ("one missing", "is missing: t10k-labels-idx1-ubyte"),
    ("one truncated", "replace one in .*: t10k-images-idx3-ubyte.gz is truncated"),
    ("one of another content", "replace one in .*: train-labels-idx1-ubyte has another content"),
    ("a folder for a file", "train-images-idx3-ubyte.gz cannot be read: Is a directory"),
])
def test_a_named_folder_without_whole_mnist_is_a_problem(places, miniature, choice, named_by, harm, words, tmp_path):
    fill(places["own_folder"], miniature)  # which would do
    folder = places.pop("folder")
    if harm == "a file":
        folder.write_text("")
    elif harm != "no folder":
        fill(folder, {} if harm == "nothing in it" else miniature)
    if harm == "one missing":
        (folder / (NAMES[3] + ".gz")).unlink()
    elif harm == "one truncated":
        path = folder / (NAMES[2] + ".gz")
        path.write_bytes(path.read_bytes()[:-200])
    elif harm == "one of another content":
        (folder / (NAMES[1] + ".gz")).write_bytes(gzip.compress(bytes(mnist.size(NAMES[1]))))
    elif harm == "a folder for a file":
        (folder / (NAMES[0] + ".gz")).unlink()
        (folder / (NAMES[0] + ".gz")).mkdir()
    given = folder if named_by == "--data-dir" else None
    places["environ"] = {} if given else {data.VARIABLE: str(folder)}
    with pytest.raises(Problem, match="^" + named_by + " must name a folder with MNIST's four files.*(" + words + ")") \
            as problem:
        data.load(choice, given, **places)
    assert "\n" not in str(problem.value)


def test_what_is_missing_in_mxnets_own_folder_is_downloaded_and_kept(places, miniature, server):
    places.update(folder=None, mirrors=[server.address("right")])
    fill(places["own_folder"], {name: miniature[name] for name in NAMES[:2]})
    (places["own_folder"] / (NAMES[1] + ".gz")).write_bytes(b"damaged")
    found = data.load("mnist", **places)
    assert found.source == "downloaded to {}".format(places["own_folder"])
    assert [name for _, name in server.asked] == [name + ".gz" for name in NAMES[1:]]
    assert {name: mnist.read(places["own_folder"], name) for name in NAMES} == miniature
    assert sorted(path.name for path in places["own_folder"].iterdir()) == sorted(name + ".gz" for name in NAMES)
    assert data.load("mnist", **places).source == "from {}".format(places["own_folder"])
    assert len(server.asked) == 3


@pytest.mark.parametrize("way", ["404", "truncated", "wrong"])
def test_a_failed_download_writes_nothing(places, miniature, server, way):
    places.update(folder=None, mirrors=[server.address(way)])
    with pytest.raises(Problem, match=r"cannot be downloaded \(127.0.0.1: .*; name a folder .* or use --data digits"):
        data.load("mnist", **places)
    assert not places["own_folder"].exists()


def test_auto_falls_back_to_digits_and_says_why(places, server):
    places.update(folder=None, mirrors=[server.address("404")])
    found = data.load("auto", **places)
    assert found.name == "digits"
    assert str(found).startswith("data set: digits (8x8 digits of scikit-learn, scaled up, because MNIST is not in ")
    assert "cannot be downloaded: 127.0.0.1: HTTP Error 404: Not Found)" in str(found)


def test_a_home_that_cannot_be_written_to_does_not_stop_a_download(places, miniature, server, tmp_path):
    (tmp_path / "file").write_text("")
    places.update(folder=None, mirrors=[server.address("right")], own_folder=tmp_path / "file" / "own")
    assert "not kept" in data.load("mnist", **places).source


def test_digits_are_those_of_scikit_learn_in_a_split_that_never_changes():
    from sklearn.datasets import load_digits
    found, again = data.load("digits"), data.load("digits")
    assert found.train_image.shape == (1437, 1, 28, 28)
    assert found.test_image.shape == (360, 1, 28, 28)
    assert found.train_image.min() == 0
    assert 0.9 < found.train_image.max() <= 1
    np.testing.assert_array_equal(found.test_label, again.test_label)
    np.testing.assert_array_equal(found.test_image, again.test_image)
    labels = np.concatenate([found.train_label, found.test_label])
    np.testing.assert_array_equal(np.bincount(labels.astype(int)), np.bincount(load_digits().target))


def test_enlarging_interpolates_between_the_middles_of_pixels():
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 2, 5] = 1
    large = data.enlarged(image)[0, 0]
    by_hand = np.zeros((28, 28))
    for row in range(24):
        for column in range(24):
            near_row = max(0.0, 1 - abs(min(max((row + 0.5) / 3 - 0.5, 0), 7) - 2))
            near_column = max(0.0, 1 - abs(min(max((column + 0.5) / 3 - 0.5, 0), 7) - 5))
            by_hand[2 + row, 2 + column] = near_row * near_column
    np.testing.assert_allclose(large, by_hand, atol=1e-6)
    assert large[2 + 7, 2 + 16] == 1
    np.testing.assert_allclose(data.enlarged(np.ones((1, 8, 8), np.float32))[0, 0, 2:26, 2:26], 1, rtol=1e-6)


@pytest.fixture
def thirty(miniature):
    return data.DataSet("MNIST", "from nowhere", *mnist.arrays(miniature))


def test_a_slice_is_the_first_images(thirty):
    part = data.cut(thirty, 12, 3)
    assert str(part) == "data set: MNIST from nowhere, 12 training and 3 test images"
    np.testing.assert_array_equal(part.train_image, thirty.train_image[:12])
    np.testing.assert_array_equal(part.test_label, [0, 1, 2])
    whole = data.cut(thirty, 0, 0)
    assert (len(whole.train_label), len(whole.test_label)) == (30, 20)


@pytest.mark.parametrize(("sizes", "words"), [
    ((31, 0), "--train-size must be at most 30, which is what MNIST has, got 31"),
    ((0, 21), "--test-size must be at most 20, which is what MNIST has, got 21"),
    ((9, 0), "--train-size must be at least 10, for an image of each digit, got 9"),
])
def test_a_slice_that_there_is_not_is_a_problem(thirty, sizes, words):
    with pytest.raises(Problem, match="^" + words + "$"):
        data.cut(thirty, *sizes)
