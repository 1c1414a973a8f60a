"""What every test shares: a printed, replayable seed, and an engine that is drained after each module."""
import os

import mxnet as mx
import numpy as np
import pytest

SEED = int(os.environ.get("MXLOSS_TEST_SEED", "1"))


def pytest_report_header():
    return "seed: MXLOSS_TEST_SEED={}".format(SEED)


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(SEED)
    mx.random.seed(SEED)


@pytest.fixture
def rng():
    """A generator of its own for each test, replayable by MXLOSS_TEST_SEED."""
    return np.random.RandomState(SEED)


@pytest.fixture(autouse=True, scope="module")
def _drained():
    """An operation that is still under way at exit can hang the interpreter."""
    yield
    mx.nd.waitall()
