"""Several workers train like the oracle, which has one: real processes on this machine."""
import io
import os
import sys

import pytest

from mxloss.launch import launch

pytestmark = pytest.mark.slow
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(workers, *arguments, timeout=60):
    """Run `tests/optimizer/worker.py` in so many workers, to the end of all of them."""
    output = io.StringIO()
    status = launch([sys.executable, "-m", "tests.optimizer.worker", *map(str, arguments)], workers=workers,
                    timeout=timeout, output=output,
                    env={"MXNET_UPDATE_ON_KVSTORE": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT})
    assert status == 0, output.getvalue()
    assert output.getvalue().count("agrees") == workers


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("case", ["module", "gluon"])
def test_workers_train_like_the_oracle(case, workers, number):
    run(workers, case, number)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("case", ["schedule_module", "schedule_gluon"])
def test_workers_follow_a_schedule_like_one(case, number):
    run(2, case, number)


@pytest.mark.parametrize("repetition", range(10))
def test_no_worker_loses_the_first_step(repetition):
    """A race that MXNet alone loses in about four of ten runs."""
    run(2, "first_step", 1 + repetition % 2)
