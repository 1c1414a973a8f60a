"""`op_type='centerloss'`: eq. 2 and 4 of the paper, exact under Module.fit, never moved by a mistake."""
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.loss.center.operator import CenterLossOperator
from tests.loss.center_reference import center_loss_loop, center_step_loop

TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}


def operator(num_class=4, alpha=0.3, scale=0.7, **attributes):
    return mx.sym.Custom(data=mx.sym.var("data"), label=mx.sym.var("label"), name="center", op_type="centerloss",
                         num_class=num_class, alpha=alpha, scale=scale, **attributes)


def bind(symbol, batch, feature_size=3, dtype="float32", grad_req="write"):
    return symbol.simple_bind(mx.cpu(), data=(batch, feature_size), type_dict={"data": dtype, "label": "float32"},
                              grad_req={"data": grad_req, "label": "null"})


def samples(rng, batch, feature_size=3, num_class=4, dtype="float32"):
    """Features that are not symmetric, labels that leave a class out and repeat others."""
    feature = (rng.randn(batch, feature_size) * [1, 2, 0.5][:feature_size] + 1).astype(dtype)
    return feature, rng.randint(0, num_class - 1, batch)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_loss_gradient_and_centers_are_the_papers(rng, dtype):
    executor = bind(mx.sym.MakeLoss(operator()), 7, dtype=dtype)
    center = executor.aux_dict["center_center_bias"]
    assert center.dtype == (np.float32 if dtype == "float16" else np.dtype(dtype))
    center[:] = rng.randn(4, 3)
    tolerance = TOLERANCE[dtype]
    for _ in range(5):
        feature, label = samples(rng, 7, dtype=dtype)
        before = center.asnumpy().astype("float64")
        executor.forward(is_train=True, data=feature, label=label)
        executor.backward()
        wide = feature.astype("float64")
        loss = center_loss_loop(wide, before[label]).mean()
        np.testing.assert_allclose(executor.outputs[0].asnumpy(), [loss], rtol=tolerance)
        np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), 0.7 * (wide - before[label]),
                                   rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(center.asnumpy(), center_step_loop(before, wide, label, 0.3),
                                   rtol=max(tolerance, 1e-6) if dtype != "float64" else tolerance, atol=1e-6)


def test_golden_values_by_hand():
    executor = bind(operator(num_class=3, alpha=0.5, scale=2.0), 3, 2)
    executor.forward(is_train=True, data=np.array([[3., 4.], [1., 0.], [0., 2.]]), label=np.array([0, 0, 2]))
    executor.backward()
    assert executor.outputs[0].asnumpy() == pytest.approx([(12.5 + 0.5 + 2.0) / 3])
    np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), [[6, 8], [2, 0], [0, 4]])
    # class 0: 0.5 * (3 + 1, 4 + 0) / (1 + 2); class 2: 0.5 * (0, 2) / (1 + 1)
    np.testing.assert_allclose(executor.aux_dict["center_center_bias"].asnumpy(),
                               [[2 / 3, 2 / 3], [0, 0], [0, 0.5]], rtol=1e-6)


def test_evaluation_moves_no_center(rng):
    executor = bind(operator(), 5)
    feature, label = samples(rng, 5)
    executor.forward(is_train=True, data=feature, label=label)
    executor.outputs[0].wait_to_read()
    before = executor.aux_dict["center_center_bias"].asnumpy()
    executor.forward(is_train=False, data=feature + 1, label=label)
    executor.outputs[0].wait_to_read()
    np.testing.assert_array_equal(executor.aux_dict["center_center_bias"].asnumpy(), before)


@pytest.mark.parametrize("grad_scale", [1.0, 7.0])
def test_what_stands_behind_the_operator_does_not_change_its_gradient(rng, grad_scale):
    executor = bind(mx.sym.MakeLoss(operator(scale=0.5), grad_scale=grad_scale), 5)
    feature, label = samples(rng, 5)
    executor.forward(is_train=True, data=feature, label=label)
    executor.backward()
    np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), 0.5 * feature, rtol=1e-6)


def test_it_trains_in_a_group_without_make_loss(rng):
    feature, label = samples(rng, 5)
    center = operator(scale=1)
    other = mx.sym.MakeLoss(mx.sym.sum(center.get_children()[0]))
    executor = bind(mx.sym.Group([other, center]), 5)
    executor.forward(is_train=True, data=feature, label=label)
    executor.backward()
    np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), feature + 1, rtol=1e-5)


def test_gradients_add_up_where_that_is_asked_for(rng):
    executor = bind(operator(scale=1, alpha=0), 5, grad_req="add")
    feature, label = samples(rng, 5)
    for _ in range(2):
        executor.forward(is_train=True, data=feature, label=label)
        executor.backward()
    np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), 2 * feature, rtol=1e-5)


def test_permuting_the_batch_changes_neither_loss_nor_centers(rng):
    feature, label = samples(rng, 9, dtype="float64")
    order, results = rng.permutation(9), []
    for rows in (slice(None), order):
        executor = bind(operator(), 9, dtype="float64")
        executor.forward(is_train=True, data=feature[rows], label=label[rows])
        results.append((executor.outputs[0].asnumpy(), executor.aux_dict["center_center_bias"].asnumpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12)


def test_arrays_by_position_and_autograd(rng):
    feature, label = samples(rng, 6)
    feature, center = mx.nd.array(feature), mx.nd.zeros((4, 3))
    feature.attach_grad()
    with mx.autograd.record():
        loss = mx.nd.Custom(feature, mx.nd.array(label), center, op_type="centerloss", num_class=4, scale=3)
    loss.backward()
    np.testing.assert_allclose(feature.grad.asnumpy(), 3 * feature.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(center.asnumpy(), center_step_loop(np.zeros((4, 3)), feature.asnumpy(), label, 0.5),
                               rtol=1e-5)


def test_attributes_survive_a_saved_symbol(tmp_path, rng):
    path = str(tmp_path / "net.json")
    operator(alpha=0.25, scale=2, batchsize=64).save(path)
    executor = bind(mx.sym.load(path), 6)
    feature, label = samples(rng, 6)
    executor.forward(is_train=True, data=feature, label=label)
    executor.outputs[0].wait_to_read()
    np.testing.assert_allclose(executor.aux_dict["center_center_bias"].asnumpy(),
                               center_step_loop(np.zeros((4, 3)), feature, label, 0.25), rtol=1e-5)


def test_scopes_may_add_attributes_of_their_own():
    with mx.AttrScope(ctx_group="first", lr_mult="2"):
        assert operator().list_auxiliary_states() == ["center_center_bias"]


# --- under Module.fit -------------------------------------------------------------------------------------------------

def network(num_class=4, **attributes):
    """Door 1 on features that do not change: the centers are then a matter of eq. 4 alone."""
    data = mx.sym.var("data")
    center = mx.sym.Custom(data=data, label=mx.sym.var("center_label"), name="center_loss_", op_type="centerloss",
                           num_class=num_class, alpha=0.3, scale=0.1, batchsize=64, **attributes)
    scores = mx.sym.FullyConnected(data, num_hidden=num_class, name="fc")
    softmax = mx.sym.SoftmaxOutput(scores, mx.sym.var("softmax_label"), name="softmax")
    return mx.sym.Group([softmax, mx.sym.MakeLoss(center, name="center_loss")])


def fit(feature, label, batch, devices=1, num_epoch=3, **options):
    names = ("softmax_label", "center_label")
    train = mxloss.io.ArrayIter(feature, label, batch, label_name=names)
    module = mx.mod.Module(network(), label_names=names, context=[mx.cpu(i) for i in range(devices)])
    module.fit(train, num_epoch=num_epoch, optimizer_params={"learning_rate": 0.1}, **options)
    return module.get_params()[1]["center_loss__center_bias"].asnumpy()


def centers_by_loop(feature, label, batch, num_epoch):
    center = np.zeros((4, feature.shape[1]))
    for _ in range(num_epoch):
        for begin in range(0, len(label), batch):
            center = center_step_loop(center, feature[begin:begin + batch], label[begin:begin + batch], 0.3)
    return center


def accuracy():
    return mx.metric.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])


METRICS = {
    "the operator's own output is read": lambda: {
        "eval_metric": mx.metric.Loss(output_names=["center_loss_output"], label_names=[])},
    "accuracy and the callback that waits": lambda: {
        "eval_metric": accuracy(), "batch_end_callback": mxloss.callback.WaitForOutputs()},
}


@pytest.mark.parametrize("batch", [8, 7])  # 40 samples: even batches, and a last one of 5
@pytest.mark.parametrize("options", METRICS.values(), ids=METRICS)
def test_fit_leaves_the_centers_of_eq_4(rng, options, batch):
    feature, label = samples(rng, 40)
    for _ in range(5):
        center = fit(feature, label, batch, num_epoch=4, **options())
        np.testing.assert_allclose(center, centers_by_loop(feature, label, batch, 4), rtol=1e-5, atol=1e-5)


def test_fit_loses_updates_when_nobody_waits_for_the_operator(rng, monkeypatch):
    """What `WaitForOutputs` is for: with plain accuracy the last batches of an epoch are overwritten."""
    forward = CenterLossOperator.forward

    def slow_forward(self, *arguments, **keywords):
        time.sleep(0.05)  # the race is won by whoever is faster; here it is certain who that is
        forward(self, *arguments, **keywords)
    monkeypatch.setattr(CenterLossOperator, "forward", slow_forward)
    feature, label = samples(rng, 32)
    expected = centers_by_loop(feature, label, 8, 1)
    lost = fit(feature, label, 8, num_epoch=1, eval_metric=accuracy())
    mx.nd.waitall()
    assert np.abs(lost - expected).max() > 1e-2
    waited = fit(feature, label, 8, num_epoch=1, eval_metric=accuracy(),
                 batch_end_callback=mxloss.callback.WaitForOutputs())
    np.testing.assert_allclose(waited, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("passes", [(True, False), (False, True), (True, False, True, False)])
def test_a_pass_that_is_still_under_way_stays_what_it_is(rng, monkeypatch, passes):
    """MXNet keeps one flag for all passes of an executor, and the next pass sets it before the last one has run."""
    forward = CenterLossOperator.forward

    def slow_forward(self, *arguments, **keywords):
        time.sleep(0.05)
        forward(self, *arguments, **keywords)
    monkeypatch.setattr(CenterLossOperator, "forward", slow_forward)
    executor, expected = bind(mx.sym.MakeLoss(operator()), 6), np.zeros((4, 3))
    for is_train in passes:
        feature, label = samples(rng, 6)
        gradient = 0.7 * (feature - expected[label])
        executor.forward(is_train=is_train, data=mx.nd.array(feature), label=mx.nd.array(label))  # without waiting
        if is_train:
            executor.backward()
            expected = center_step_loop(expected, feature, label, 0.3)
            last_gradient = gradient
    mx.nd.waitall()
    np.testing.assert_allclose(executor.aux_dict["center_center_bias"].asnumpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), last_gradient, rtol=1e-5, atol=1e-6)


def test_each_device_has_centers_of_its_own_and_get_params_their_mean(rng):
    feature, label = samples(rng, 8)
    center = fit(feature, label, 8, devices=2, num_epoch=1, **METRICS["accuracy and the callback that waits"]())
    halves = [center_step_loop(np.zeros((4, 3)), feature[rows], label[rows], 0.3) for rows in (slice(4), slice(4, 8))]
    np.testing.assert_allclose(center, np.mean(halves, axis=0), rtol=1e-5, atol=1e-6)


def test_scoring_moves_no_center(rng):
    feature, label = samples(rng, 24)
    names = ("softmax_label", "center_label")
    train = mxloss.io.ArrayIter(feature, label, 8, label_name=names)
    module = mx.mod.Module(network(), label_names=names)
    module.fit(train, eval_data=mxloss.io.ArrayIter(feature + 9, label, 8, label_name=names), num_epoch=2,
               **METRICS["the operator's own output is read"]())
    np.testing.assert_allclose(module.get_params()[1]["center_loss__center_bias"].asnumpy(),
                               centers_by_loop(feature, label, 8, 2), rtol=1e-5, atol=1e-5)


def test_a_label_that_is_no_class_is_named_and_stops_the_training(rng):
    feature, label = samples(rng, 16)
    label[13] = 9
    with pytest.raises(ValueError, match=r"centerloss: `label` must be a whole number in \[0, 3\], got 9.0 in row 5"):
        fit(feature, label, 8, num_epoch=1, **METRICS["accuracy and the callback that waits"]())
    mx.nd.waitall()


# --- wrong input ends in words: a process for each case, for it may be a segmentation fault or a hang -----------------

PRELUDE = """
import os
import mxnet as mx, numpy as np
import mxloss
def symbol(**attributes):
    data, label = mx.sym.var('data'), mx.sym.var('label')
    return mx.sym.Custom(data=data, label=label, op_type='centerloss', name='c', **attributes)
def array(label, data=((1., 2.), (3., 4.)), center=((0., 0.),) * 3):
    global state
    state = mx.nd.array(center)
    with mx.autograd.train_mode():
        mx.nd.Custom(mx.nd.array(data), mx.nd.array(label), state, op_type='centerloss', num_class=3).wait_to_read()
def bound(data=(2, 2), label=(2,), attributes={}, **options):
    symbol(num_class=3, **attributes).simple_bind(mx.cpu(), data=data, label=label, **options)
state = mx.nd.zeros((3, 2))
try:
    CASE
except (mx.base.MXNetError, RuntimeError) as error:
    print('refused:', type(error).__name__, error)
else:
    print('accepted')
print('moved:', bool(np.abs(state.asnumpy()).sum()))
os.environ.pop('MXNET_BACKWARD_DO_MIRROR', None)
good = mx.nd.Custom(mx.nd.ones((1, 2)), mx.nd.zeros(1), mx.nd.zeros((3, 2)), op_type='centerloss', num_class=3)
print('works on:', good.asscalar())
mx.nd.waitall()
"""

BAD = {
    "negative label": ("array((0, -1))", "`label` must be a whole number in [0, 2], got -1.0 in row 1"),
    "label beyond the classes": ("array((0, 3))", "`label` must be a whole number in [0, 2], got 3.0 in row 1"),
    "fractional label": ("array((0.5, 1))", "`label` must be a whole number in [0, 2], got 0.5 in row 0"),
    "NaN as label": ("array((0, float('nan')))", "`label` must be a whole number in [0, 2], got nan in row 1"),
    "infinite label": ("array((0, float('inf')))", "`label` must be a whole number in [0, 2], got inf in row 1"),
    "data of rank 1": ("array((0, 1), data=(1., 2.))",
                       "`data` must be (batch, feature_size), 2 axes, got (2,)"),
    "data of rank 4": ("bound(data=(2, 3, 4, 4))", "`data` must be (batch, feature_size), 2 axes, got (2, 3, 4, 4)"),
    "labels of another number": ("array((0, 1, 2))", "`label` must be of shape (2,), got (3,)"),
    "labels as a column": ("bound(label=(2, 1))", "`label` must be of shape (2,), got (2, 1)"),
    "another feature size": ("array((0, 1), center=((0.,) * 5,) * 3)", "inferred shape=[3,2]"),
    "another number of centers": ("array((0, 1), center=((0., 0.),) * 4)", "inferred shape=[3,2]"),
    "another feature size, bound": (
        "symbol(num_class=3).bind(mx.cpu(), {'data': mx.nd.zeros((2, 2)), 'label': mx.nd.zeros(2)},"
        " aux_states={'c_center_bias': mx.nd.zeros((3, 4))})", "inferred shape=[3,2]"),
    "missing attribute": ("symbol(alpha=0.5)", "centerloss: attribute `num_class` is missing"),
    "unknown attribute": ("symbol(num_class=3, beta=1)", "centerloss: unknown attribute `beta`, known are `num_class`"),
    "attribute that is no number": ("symbol(num_class='ten')", "`num_class` must be a whole number, got 'ten'"),
    "attribute that is not whole": ("symbol(num_class=2.5)", "`num_class` must be a whole number, got '2.5'"),
    "alpha that is no number": ("symbol(num_class=3, alpha='x')", "centerloss: `alpha` must be a number, got 'x'"),
    "alpha above 1": ("symbol(num_class=3, alpha=1.5)", "centerloss: `alpha` must be in [0, 1], got 1.5"),
    "alpha below 0": ("symbol(num_class=3, alpha=-0.1)", "centerloss: `alpha` must be in [0, 1], got -0.1"),
    "alpha NaN": ("symbol(num_class=3, alpha=float('nan'))", "centerloss: `alpha` must be in [0, 1], got nan"),
    "scale below 0": ("symbol(num_class=3, scale=-1)", "centerloss: `scale` must be a finite number >= 0, got -1.0"),
    "infinite scale": ("symbol(num_class=3, scale='inf')", "`scale` must be a finite number >= 0, got inf"),
    "no class": ("symbol(num_class=0)", "centerloss: `num_class` must be a whole number >= 1, got 0"),
    "batchsize 0": ("symbol(num_class=3, batchsize=0)", "`batchsize` must be a whole number >= 1, got 0"),
    "arrays by keyword": ("mx.nd.Custom(data=state, label=mx.nd.zeros(3), op_type='centerloss', num_class=3)",
                          "arrays are given by position"),
    "whole numbers as data": ("bound(type_dict={'data': 'int32'})", "`dtype of data` must be one of 'float16'"),
    "labels too coarse": ("mx.sym.Custom(data=mx.sym.var('data'), label=mx.sym.var('label'), op_type='centerloss',"
                          " num_class=4000).simple_bind(mx.cpu(), data=(2, 2), type_dict={'data': 'float16'})",
                          "`label` must be of a type that can tell 4000 classes apart, got 'float16'"),
    "mirroring by environment": ("os.environ.update(MXNET_BACKWARD_DO_MIRROR='1'); bound()",
                                 "`MXNET_BACKWARD_DO_MIRROR` must be unset or 0"),
    "mirroring by attribute": ("bound(attributes={'attr': {'__force_mirroring__': 'True'}})",
                               "`force_mirroring` must be off"),
}


def run_case(case):
    return subprocess.run([sys.executable, "-c", PRELUDE.replace("CASE", case)], timeout=120, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


@pytest.fixture(scope="module")
def runs():
    """Every case, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(BAD, pool.map(run_case, [case for case, _ in BAD.values()])))


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_words_and_moves_nothing(runs, name):
    status, output = runs[name].returncode, runs[name].stdout
    assert status == 0, output
    assert BAD[name][1] in output
    assert "refused: MXNetError" in output or "refused: RuntimeError" in output
    assert "moved: False" in output
    assert "works on: 1.0" in output
