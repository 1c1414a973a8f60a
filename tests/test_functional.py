"""Maths that several losses share."""
import mxnet as mx
import numpy as np
import pytest

from mxloss.functional import is_own_class, item_weight


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float16", "float32", "float64"])
def test_weights_of_items_are_those_of_any_number_type_of_labels(dtype):
    label = mx.nd.array([0, 3, 1, 2, 0], dtype=dtype)
    wanted = np.array([0, 5 / 3, 5 / 3, 5 / 3, 0])
    weight = item_weight(label > 0)  # MXNet's comparisons are of the type of what they compare
    assert np.dtype(weight.dtype).name == (dtype if dtype.startswith("float") else "float32")
    np.testing.assert_allclose(weight.asnumpy(), wanted, rtol=1e-3)
    np.testing.assert_allclose(item_weight(label.asnumpy() > 0), wanted, rtol=1e-6)
    np.testing.assert_allclose(item_weight(mx.nd.ones(5, dtype=dtype), label > 0).asnumpy(), np.full(5, 5 / 3),
                               rtol=1e-3)


@pytest.mark.parametrize("symbol", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_own_class_is_found_among_more_than_a_float16_can_count(dtype, symbol):
    label, pred = mx.nd.array([[2049, 2999], [-1, 0]]), mx.nd.zeros((2, 2, 3000), dtype=dtype)
    if symbol:
        own = is_own_class(mx.sym.var("label"), mx.sym.var("pred")).bind(mx.cpu(), {"label": label, "pred": pred})
        own = own.forward()[0].asnumpy()
    else:
        own = is_own_class(label, pred).asnumpy()
    wanted = np.zeros((2, 2, 3000))
    wanted[0, 0, 2049] = wanted[0, 1, 2999] = wanted[1, 1, 0] = 1
    np.testing.assert_array_equal(own, wanted)
