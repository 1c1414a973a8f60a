"""Two epochs, a stop, a new process and two more epochs are four epochs, centers, counts, momentum and schedule."""
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.optimizer import resuming

pytestmark = pytest.mark.slow
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The folder in which one new process has taken up all of the trainings."""
    folder = tmp_path_factory.mktemp("resume")
    for api in resuming.APIS:
        for number in resuming.NUMBERS:
            resuming.run(api, number, folder, [0, 1])
    subprocess.run([sys.executable, "-m", "tests.optimizer.resuming", str(folder)], cwd=ROOT, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("number", resuming.NUMBERS)
@pytest.mark.parametrize("api", resuming.APIS)
def test_a_resumed_training_is_one_that_was_never_stopped(api, number, resumed, tmp_path):
    wanted = resuming.run(api, number, tmp_path, [0, 1, 2, 3])
    got = np.load(resumed / "resumed_{}{}.npz".format(api, number))
    assert sorted(got) == sorted(wanted)
    for name, value in wanted.items():
        tolerance = 1e-6 * np.abs(value).max() if number == 3 else 0  # MXNet averages, which thirds do not survive
        np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance, err_msg=name)
    assert wanted["counts"].sum() == 4 * sum(resuming.training.SIZES)
