"""Names that every doctest has."""
import mxnet as mx
import numpy as np
import pytest

import mxloss


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(mx=mx, np=np, mxloss=mxloss)
