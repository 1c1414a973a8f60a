"""Safe registration: a mistake in an operator's attributes or passes ends in the operator's own words."""
import inspect

import mxnet as mx
import numpy as np
import pytest

from mxloss import _check
from mxloss.operator import explained, register


@register("test_scaled")
class ScaledProp(mx.operator.CustomOpProp):
    """Output is data times `factor`, plus 1 with `shifted`; label 7 is refused in forward, label 8 in backward."""

    seen = []

    def __init__(self, factor: float, shifted: bool = False, note: str = "none", repeat: int = 1):
        super().__init__(need_top_grad=True)
        self.factor, self.shifted = factor, shifted
        self.seen.append((factor, shifted, note, repeat))

    def list_arguments(self):
        return ["data", "label"]

    def infer_shape(self, in_shape):
        return in_shape, [in_shape[0]], []

    def create_operator(self, ctx, in_shapes, in_dtypes):
        return Scaled(self.factor, self.shifted)


class Scaled(mx.operator.CustomOp):
    def __init__(self, factor, shifted):
        super().__init__()
        self.factor, self.shifted = factor, shifted

    def forward(self, is_train, req, in_data, out_data, aux):
        self.refuse(in_data, 7)
        self.assign(out_data[0], req[0], in_data[0] * self.factor + self.shifted)

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.refuse(in_data, 8)
        self.assign(in_grad[0], req[0], out_grad[0] * self.factor)

    @staticmethod
    def refuse(in_data, label):
        if (in_data[1].asnumpy() == label).any():
            _check.fail("test_scaled", "label", "anything but {}".format(label), label)


def scaled(label=0, **attributes):
    return mx.nd.Custom(mx.nd.array([1., 2.]), mx.nd.array([label, 0]), op_type="test_scaled", **attributes)


def test_attributes_have_the_types_of_the_annotations():
    ScaledProp.seen.clear()
    scaled(factor=2, shifted=False, note="seven", repeat=3).wait_to_read()
    assert ScaledProp.seen[-1] == (2.0, False, "seven", 3)
    assert [type(value) for value in ScaledProp.seen[-1]] == [float, bool, str, int]


@pytest.mark.parametrize(("text", "value"), [("True", 3.0), ("1", 3.0), ("true", 3.0), ("False", 2.0), ("0", 2.0)])
def test_false_is_not_true(text, value):
    assert scaled(factor=2, shifted=text).asnumpy()[0] == value


@pytest.mark.parametrize(("attributes", "words"), [
    ({}, "test_scaled: attribute `factor` is missing"),
    ({"factor": "much"}, "test_scaled: `factor` must be a number, got 'much'"),
    ({"factor": 1, "shifted": "maybe"}, "test_scaled: `shifted` must be True or False, got 'maybe'"),
    ({"factor": 1, "repeat": 1.5}, "test_scaled: `repeat` must be a whole number, got '1.5'"),
    ({"factor": 1, "color": "red"},
     "test_scaled: unknown attribute `color`, known are `factor`, `shifted`, `note`, `repeat`"),
])
def test_bad_attributes_are_named(attributes, words, capfd):
    with pytest.raises(mx.base.MXNetError):
        scaled(**attributes)
    assert words in capfd.readouterr().out


def test_an_error_of_forward_reaches_the_reader_in_its_own_words():
    with pytest.raises(ValueError, match="test_scaled: `label` must be anything but 7, got 7") as caught, explained():
        scaled(label=7, factor=1).asnumpy()
    assert isinstance(caught.value.__cause__, mx.base.MXNetError)


def test_an_error_of_backward_reaches_the_reader_in_its_own_words():
    data = mx.nd.array([1., 2.])
    data.attach_grad()
    with mx.autograd.record():
        output = mx.nd.Custom(data, mx.nd.array([8, 0]), op_type="test_scaled", factor=1)
    output.backward()
    with pytest.raises(ValueError, match="test_scaled: `label` must be anything but 8, got 8"), explained():
        data.grad.asnumpy()


def test_an_error_of_another_operator_is_left_as_it_is():
    with pytest.raises(ValueError, match="anything but 7"), explained():
        scaled(label=7, factor=1).asnumpy()
    with pytest.raises(mx.base.MXNetError), explained():
        mx.nd.take(mx.nd.zeros((2, 2)), mx.nd.array([5]), mode="raise").asnumpy()


def test_good_batches_go_on_after_a_bad_one():
    with pytest.raises(ValueError, match="anything but 7"), explained():
        scaled(label=7, factor=1).asnumpy()
    np.testing.assert_array_equal(scaled(factor=3).asnumpy(), [3, 6])


def test_the_class_is_given_back_as_it_was():
    assert inspect.isclass(ScaledProp)
    assert ScaledProp(factor=1.0).factor == 1.0
