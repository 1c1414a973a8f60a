"""Several workers, several devices, two APIs: the same training, and one set of files."""
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest

from examples.mnist_center_loss import cli, gluon_training, network, workers
from examples.mnist_center_loss.data import DataSet
from examples.mnist_center_loss.problem import Problem
from tests.examples.test_run import MODULE, ROOT, environment, run

SMALL = ("--data", "digits", "--network", "mlp", "--train-size", "300", "--test-size", "50", "--epochs", "2")


def some(count):
    image = np.arange(count, dtype="float32").reshape(count, 1, 1, 1)
    return DataSet("MNIST", "made up", image, np.arange(count) % 10, image, np.arange(count) % 10)


@pytest.mark.parametrize(("samples", "count"), [(10, 1), (10, 2), (11, 3), (7, 7)])
def test_no_image_is_seen_by_two_workers_and_all_have_as_many(samples, count):
    data = some(samples)
    parts = [workers.own_part(data, workers.Workers(rank, count)) for rank in range(count)]
    seen = np.concatenate([part.train_image[:, 0, 0, 0] for part in parts])
    assert len(set(seen)) == len(seen) == samples // count * count
    assert len({len(part.train_label) for part in parts}) == 1
    for part in parts:
        np.testing.assert_array_equal(part.train_label, part.train_image[:, 0, 0, 0] % 10)
        assert len(part.test_label) == samples


def test_fewer_images_than_workers_are_a_problem():
    with pytest.raises(Problem, match="3 workers cannot share 2 training images"):
        workers.own_part(some(2), workers.Workers(0, 3))


def test_a_parameter_server_has_to_be_there():
    with pytest.raises(Problem, match=r"--kvstore dist_sync needs a parameter server: run it by: .*launch -n 2"):
        workers.connect("dist_sync", {})


@pytest.mark.parametrize(("devices", "count", "api", "asked", "door"), [
    (1, 1, "module", None, "operator"), (2, 1, "module", None, "block"), (1, 2, "module", None, "block"),
    (1, 1, "gluon", None, "block"), (2, 1, "module", "operator", "operator"), (1, 1, "module", "block", "block")])
def test_centers_are_shared_where_there_is_somebody_to_share_them_with(devices, count, api, asked, door):
    settings = SimpleNamespace(contexts=[mx.cpu(i) for i in range(devices)], workers=workers.Workers(0, count))
    assert cli._center(SimpleNamespace(center=asked, api=api), settings) == door


def test_gluon_has_no_operator_of_its_own(capsys):
    assert cli.main(["--api", "gluon", "--center", "operator"]) == 2
    assert "--center must be block with --api gluon" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(network.NETWORKS))
def test_both_apis_have_the_same_networks_under_the_same_names(name, rng):
    assert set(gluon_training.NETWORKS) == set(network.NETWORKS)
    block = gluon_training.Digits(name)
    block.initialize(mx.init.Xavier())
    image = mx.nd.array(rng.rand(3, 1, 28, 28))
    scores, embedding = block(image)
    net = network.without_heads(network.softmax_alone(name))
    executor = net.bind(mx.cpu(), {"data": image, **{key: parameter.data() for key, parameter in
                                                     block.collect_params().items()}})
    for ours, theirs in zip((embedding, scores), executor.forward()):
        np.testing.assert_allclose(ours.asnumpy(), theirs.asnumpy(), rtol=1e-4, atol=1e-5)


def lines(folder):
    rows = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("samples_per_second", None)
    return rows


def assert_alike(row, other):
    assert set(row) == set(other)
    for key, value in row.items():
        exact = isinstance(value, (str, bool, int))
        assert value == (other[key] if exact else pytest.approx(other[key], rel=2e-3)), key


@pytest.mark.slow
def test_module_gluon_and_any_number_of_devices_train_alike(tmp_path):
    runs = {}
    for options in ((), ("--api", "gluon"), ("--devices", "3"), ("--api", "gluon", "--devices", "2", "--hybridize")):
        folder = tmp_path / "-".join(("run",) + options)
        done = run(folder, *SMALL, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(list((folder / "out").iterdir())) == 10
        runs[options] = lines(folder)
    for rows in runs.values():
        assert len(rows) == 8
        for row, first in zip(rows, runs[()]):
            assert_alike(row, first)


def launched(folder, *arguments):
    return subprocess.run([sys.executable, "-m", MODULE + ".launch", "-n", "2", "--timeout", "100", "--out",
                           str(folder / "out"), *arguments], cwd=str(ROOT), env=environment(folder), timeout=120,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("api", ["module", "gluon"])
def test_two_workers_train_as_one_with_their_batches_together(tmp_path, api):
    done = launched(tmp_path, *SMALL, "--api", api, "--batch-size", "16")
    assert done.returncode == 0, done.stdout
    assert len(os.listdir(tmp_path / "out")) == 10
    assert "worker 1 | softmax epoch" not in done.stdout
    one = tmp_path / "one"
    assert run(one, *SMALL, "--batch-size", "300", "--center", "block").returncode == 0
    two = tmp_path / "two"
    assert launched(two, *SMALL, "--api", api, "--batch-size", "150").returncode == 0
    for row, alone in zip(lines(two), lines(one)):
        for key in ("batch", "step"):  # 300 images are a batch of one and two of 150 each
            assert row.pop(key) == alone.pop(key)
        if row["split"] == "validation":  # training values are those of worker 0's half
            assert_alike(row, alone)


@pytest.mark.slow
def test_a_bad_option_ends_all_workers_with_its_status(tmp_path):
    done = launched(tmp_path, "--epochs", "0")
    assert done.returncode == 2
    assert "--epochs: must be a whole number >= 1" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("api", ["module", "gluon"])
def test_two_workers_go_on_where_both_were_interrupted(tmp_path, api):
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    assert launched(straight, *SMALL, "--api", api).returncode == 0
    done = launched(cut, *SMALL, "--api", api, "--interrupt-at", "2")
    assert done.returncode == 130, done.stdout
    done = launched(cut, *SMALL, "--api", api, "--resume")
    assert done.returncode == 0, done.stdout
    assert lines(cut) == lines(straight)
