"""The download, from a server on this machine: what is right arrives, what is wrong is left, time is kept."""
import time

import pytest

from examples.mnist_center_loss import mnist
from examples.mnist_center_loss.download import MIRRORS, NotDownloaded, fetch

SHORT = {"seconds": 2.0, "silence": 0.3}


def fetched(server, *ways, **keywords):
    mirrors = [server.address(way) for way in ways]
    return {name: mnist.unpack(name, packed) for name, packed in fetch(mnist.FILES, mirrors, **SHORT, **keywords)}


def test_all_files_arrive_from_one_mirror(server, miniature):
    assert fetched(server, "right") == miniature
    assert [name for _, name in server.asked] == [name + ".gz" for name in mnist.FILES]


@pytest.mark.parametrize("way", ["404", "hang", "wrong", "truncated", "cut", "page"])
def test_a_bad_mirror_is_left_at_once_and_for_good(server, miniature, way):
    assert fetched(server, way, "right") == miniature
    assert [asked for asked, _ in server.asked] == [way] + ["right"] * len(mnist.FILES)


@pytest.mark.parametrize(("way", "words"), [
    ("404", "Not Found"), ("hang", "no answer for 0.3 seconds|timed out"), ("wrong", "another content"),
    ("truncated", "truncated"), ("cut", "truncated|incomplete|IncompleteRead"), ("page", "not a gzip file"),
])
def test_the_reason_is_told(server, way, words):
    with pytest.raises(NotDownloaded, match=r"^127\.0\.0\.1: .*(" + words + ")"):
        fetched(server, way)


def test_a_mirror_that_is_not_there_is_told(server):
    with pytest.raises(NotDownloaded, match="Connection refused"):
        list(fetch(mnist.FILES, ["http://127.0.0.1:1/"], **SHORT))


def test_no_mirror_at_all():
    with pytest.raises(NotDownloaded, match="there is no mirror"):
        list(fetch(["train-labels-idx1-ubyte"], []))


@pytest.mark.parametrize("ways", [["drip"], ["hang"] * 20, ["drip", "right"]])
def test_time_is_bounded_over_all_mirrors_and_files(server, ways):
    start = time.monotonic()
    with pytest.raises(NotDownloaded, match="the 2 seconds for it are over"):
        fetched(server, *ways)
    assert 1.9 < time.monotonic() - start < 8


def test_the_bound_is_below_15_seconds_and_leaves_each_mirror_its_turn():
    bound, silence = fetch.__kwdefaults__["seconds"], fetch.__kwdefaults__["silence"]
    assert silence * len(MIRRORS) < bound < 15


def test_files_that_arrived_before_a_failure_were_given(server, miniature):
    first, second = list(mnist.FILES)[:2]
    del server.contents[second]
    files = fetch([first, second], [server.address("right")], **SHORT)
    assert next(files)[0] == first
    with pytest.raises(NotDownloaded):
        next(files)


def test_progress_is_told_as_bytes_of_bytes(server, miniature):
    told = []
    fetched(server, "drip-free", progress=lambda *arguments: told.append(arguments))
    images = [line for line in told if line[0] == "train-images-idx3-ubyte"]
    assert images
    assert all(0 < received <= length for _, received, length in images)
