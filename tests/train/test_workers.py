"""Workers of `dist_sync` stop at the same batch, whoever of them has the reason, and go on together."""
import io
import os
import pickle
import shutil
import subprocess
import sys

import pytest

from mxloss.checkpoint import Folder
from mxloss.launch import launch

from .runs import BATCHES, ROOT, assert_equal

pytestmark = pytest.mark.slow
ENVIRONMENT = {"MXNET_UPDATE_ON_KVSTORE": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def command(folder, stop):
    return [sys.executable, "-m", "tests.train.runs", str(folder), "1", stop]


def run(folder, stop):
    """What two workers have reached."""
    folder.mkdir(exist_ok=True)
    output = io.StringIO()
    status = launch(command(folder, stop), timeout=90, output=output, env=ENVIRONMENT)
    assert status == 0, output.getvalue()
    return reached(folder)


def reached(folder):
    return [pickle.loads((folder / "reached{}.pickle".format(rank)).read_bytes()) for rank in ("", "1")]


def test_all_stop_when_one_has_a_reason_and_go_on_to_the_bit(tmp_path):
    straight = run(tmp_path / "straight", "end")
    first, last = run(tmp_path / "cut", str(BATCHES + 2))
    assert first["outcome"] == ("worker", 1, 1, None, None, None, None)
    assert last["outcome"][:3] == ("target", 1, 1)
    for worker in ("worker-0", "worker-1"):
        assert Folder(tmp_path / "cut" / "checkpoints" / worker).list() == [(1, 0), (1, 2)]
    resumed = run(tmp_path / "cut", "end")
    for one, other in zip(straight, resumed):
        assert one["outcome"] == other["outcome"]
        assert_equal(one["numbers"], other["numbers"])
        assert one["validation"][2] == other["validation"][2]
        assert other["train"] == {place: one["train"][place] for place in other["train"]}


def test_all_go_on_from_the_last_place_that_all_have(tmp_path):
    """As when one was killed while it wrote."""
    straight = run(tmp_path / "straight", "end")
    run(tmp_path / "cut", str(BATCHES + 2))
    shutil.rmtree(str(tmp_path / "cut" / "checkpoints" / "worker-1" / "0001-000002"))
    for one, other in zip(straight, run(tmp_path / "cut", "end")):
        assert_equal(one["numbers"], other["numbers"])


def test_a_signal_to_the_launcher_ends_all_with_a_checkpoint(tmp_path):
    running = subprocess.Popen([sys.executable, "-m", "mxloss.launch", *command(tmp_path, "signal")], cwd=str(ROOT),
                               env=dict(os.environ, **ENVIRONMENT), stdout=subprocess.PIPE, universal_newlines=True)
    try:
        while "started" not in running.stdout.readline():
            assert running.poll() is None
        running.terminate()
        rest, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 143, rest
    workers = reached(tmp_path)
    assert {worker["outcome"] for worker in workers} == {workers[0]["outcome"]}
    reason, epoch, batch = workers[0]["outcome"][:3]
    assert reason == "signal"
    for worker in ("worker-0", "worker-1"):
        assert Folder(tmp_path / "checkpoints" / worker).list()[-1] == divmod(epoch * BATCHES + batch + 1, BATCHES)


def test_where_workers_cannot_agree_there_is_no_stop(tmp_path):
    output = io.StringIO()
    status = launch(command(tmp_path, "1"), timeout=60, output=output,
                    env=dict(ENVIRONMENT, MXNET_UPDATE_ON_KVSTORE="1"))
    assert status == 1
    assert "fit: `checkpoint` must be None where servers update" in output.getvalue()
