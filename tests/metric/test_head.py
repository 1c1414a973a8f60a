"""What each head reports, by plain loops, and that `value` is the number whose gradient the head sends."""
import mxnet as mx
import numpy as np
import pytest

from mxloss.metric import Accuracy, Loss

CLASSES = np.array([2, 0, 3, 3, 1, 2])
POSITIONS = np.array([[2, 0, 3, 1, 1], [3, 3, 1, 0, 2]])
SHARES = np.array([[.1, .2, .3, .4], [.7, .1, .1, .1], [.25, .25, .25, .25], [0, 0, 1, 0], [.5, .5, 0, 0],
                   [0, .9, 0, .1]])

FLAT = {"grad_scale": 3.0}
SOFTMAX = [
    ((6, 4), CLASSES, {}),
    ((6, 4), CLASSES, FLAT),
    ((6, 4), CLASSES, {"normalization": "batch", "grad_scale": 3.0}),
    ((6, 4), CLASSES, {"normalization": "valid"}),
    ((6, 4), CLASSES, {"use_ignore": True, "ignore_label": 3, "grad_scale": 0.5}),
    ((6, 4), CLASSES, {"use_ignore": True, "ignore_label": 3, "normalization": "valid"}),
    ((6, 4), CLASSES, {"use_ignore": True, "ignore_label": 3, "normalization": "batch"}),
    ((6, 4), CLASSES, {"ignore_label": 3, "normalization": "valid"}),  # counts no 3, and learns from them
    ((6, 4), np.where(CLASSES == 3, -1, CLASSES), {"use_ignore": True, "normalization": "valid"}),
    ((6, 4), CLASSES, {"smooth_alpha": 0.3}),
    ((6, 4), CLASSES, {"smooth_alpha": 0.3, "use_ignore": True, "ignore_label": 2, "normalization": "valid"}),
    ((2, 4, 5), POSITIONS, {"multi_output": True}),
    ((2, 4, 5), POSITIONS, {"multi_output": True, "normalization": "batch", "grad_scale": 3.0}),
    ((2, 4, 5), POSITIONS, {"multi_output": True, "normalization": "valid"}),
    ((2, 4, 5), POSITIONS, {"multi_output": True, "normalization": "valid", "use_ignore": True, "ignore_label": 1}),
    ((2, 4, 5), POSITIONS, {"multi_output": True, "use_ignore": True, "ignore_label": 1}),
    ((2, 4, 5), POSITIONS, {"multi_output": True, "smooth_alpha": 0.3}),
    ((2, 4, 5, 1), POSITIONS[:, :, None], {"multi_output": True, "normalization": "batch"}),
    ((2, 5, 4), POSITIONS, {"preserve_shape": True}),
    ((2, 5, 4), POSITIONS, {"preserve_shape": True, "normalization": "batch", "grad_scale": 3.0}),
    ((2, 5, 4), POSITIONS, {"preserve_shape": True, "normalization": "valid", "use_ignore": True, "ignore_label": 1}),
    ((2, 5, 4), POSITIONS, {"preserve_shape": True, "smooth_alpha": 0.3}),
    ((6, 4), SHARES, {}),
    ((6, 4), SHARES, {"normalization": "batch", "use_ignore": True, "ignore_label": 0, "smooth_alpha": 0.3,
                      "grad_scale": 3.0}),
    ((2, 4, 3), SHARES.reshape(2, 3, 4).transpose(0, 2, 1), {"multi_output": True}),
    ((2, 3, 4), SHARES.reshape(2, 3, 4), {"preserve_shape": True, "normalization": "batch"}),
]
TARGETS = np.array([[.2, 1.], [0., .7], [1., .1]])
OTHERS = [
    ("SVMOutput", (6, 4), CLASSES, {}),
    ("SVMOutput", (6, 4), CLASSES, {"margin": 0.4, "regularization_coefficient": 2.5}),
    ("SVMOutput", (6, 4), CLASSES, {"use_linear": True}),
    ("SVMOutput", (6, 4), CLASSES, {"use_linear": True, "margin": 0.4, "regularization_coefficient": 2.5}),
    *[(head, shape, TARGETS.reshape(label), options)
      for head in ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput")
      for shape, label, options in [((3, 2), (3, 2), {}), ((3, 2), (3, 2), FLAT), ((6, 1), (6,), FLAT),
                                    ((6,), (6,), {}), ((3, 1, 2), (3, 1, 2), FLAT)]],
]
NORMALIZATIONS = [{"normalization": kind, "grad_scale": 3.0} for kind in ("null", "batch", "valid")]
MAKE_LOSS = [(shape, options) for shape in [(6,), (6, 1), (2, 3, 4)]
             for options in [{}, *NORMALIZATIONS, {"normalization": "valid", "valid_thresh": 0.7}]]


def name_of(case):
    return "-".join(str(part) for part in case if not isinstance(part, np.ndarray)).replace(" ", "")


def numeric_derivative(function, x, step=1e-6):
    result = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        moved = x.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        result[index] = (above - function(moved)) / (2 * step)
    return result


def executor_of(net, x, label):
    arrays = {"data": mx.nd.array(x, dtype="float64")}
    if label is not None:
        arrays["label"] = mx.nd.array(label, dtype="float64")
    kept = {"data": "write", "label": "null"}
    return net.bind(mx.cpu(), arrays, args_grad={"data": mx.nd.zeros(x.shape, dtype="float64")},
                    grad_req={name: kept[name] for name in arrays}), arrays


def check_value_is_what_is_optimised(net, loss, x, label):
    executor, arrays = executor_of(net, x, label)
    executor.forward(is_train=True)
    executor.backward()
    sent = executor.grad_dict["data"].asnumpy()

    def value(moved):
        arrays["data"][:] = moved
        return loss.value(arrays.get("label"), executor.forward(is_train=True)[0])
    assert np.abs(sent).max() > 1e-3
    np.testing.assert_allclose(numeric_derivative(value, x), sent, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("shape", "label", "options"), SOFTMAX, ids=map(name_of, SOFTMAX))
def test_the_softmax_value_has_the_gradient_that_is_sent(rng, shape, label, options):
    net = mx.sym.SoftmaxOutput(mx.sym.var("data"), mx.sym.var("label"), **options)
    check_value_is_what_is_optimised(net, Loss(head="SoftmaxOutput", **options), rng.randn(*shape), label)


@pytest.mark.parametrize(("head", "shape", "label", "options"), OTHERS, ids=map(name_of, OTHERS))
def test_the_value_of_every_other_head_has_the_gradient_that_is_sent(rng, head, shape, label, options):
    net = getattr(mx.sym, head)(mx.sym.var("data"), mx.sym.var("label"), **options)
    check_value_is_what_is_optimised(net, Loss(head=head, **options), rng.randn(*shape), label)


@pytest.mark.parametrize(("shape", "options"), MAKE_LOSS, ids=map(name_of, MAKE_LOSS))
def test_the_value_of_a_made_loss_has_the_gradient_that_is_sent(rng, shape, options):
    net = mx.sym.MakeLoss(mx.sym.square(mx.sym.var("data")), **options)
    check_value_is_what_is_optimised(net, Loss(head="MakeLoss", **options), rng.randn(*shape), None)


@pytest.mark.parametrize("reduction", [mx.sym.mean, mx.sym.sum])
def test_the_value_of_a_single_number_is_that_number(rng, reduction):
    net = mx.sym.MakeLoss(reduction(mx.sym.square(mx.sym.var("data"))), grad_scale=0.5)
    check_value_is_what_is_optimised(net, Loss(head="MakeLoss", grad_scale=0.5), rng.randn(5), None)


def test_a_plain_make_loss_scales_nothing(rng):
    net = mx.sym.make_loss(mx.sym.square(mx.sym.var("data")), grad_scale=7)
    check_value_is_what_is_optimised(net, Loss(head="make_loss"), rng.randn(5), None)


def test_the_value_of_the_center_loss_has_the_gradient_that_is_sent(rng):
    net = mx.sym.MakeLoss(mx.sym.Custom(mx.sym.var("data"), mx.sym.var("label"), op_type="centerloss", num_class=4,
                                        scale=0.3, alpha=0.0, name="center"), grad_scale=7)
    x, label = rng.randn(6, 2), mx.nd.array(CLASSES, dtype="float64")
    data, grad = mx.nd.array(x, dtype="float64"), mx.nd.zeros((6, 2), dtype="float64")
    executor = net.bind(mx.cpu(), [data, label], args_grad=[grad, None], grad_req=["write", "null"],
                        aux_states=[mx.nd.array(rng.randn(4, 2), dtype="float64")])
    executor.forward(is_train=True)[0].wait_to_read()
    executor.backward()
    loss = Loss(head="centerloss", scale=0.3, num_class=4)

    def value(moved):
        data[:] = moved
        return loss.value(label, executor.forward(is_train=False)[0])
    np.testing.assert_allclose(numeric_derivative(value, x), grad.asnumpy(), rtol=1e-5, atol=1e-8)


def cross_entropy(out, label, options):
    """Losses of all items that count, by loops."""
    if out.ndim > 2 and options.get("multi_output"):
        out = np.moveaxis(out, 1, -1)
        label = np.moveaxis(label, 1, -1) if label.size == out.size else label
    classes = out.shape[-1]
    smooth = 0 if options.get("multi_output") else options.get("smooth_alpha", 0)
    losses = []
    if label.size == out.size:
        for row, share in zip(out.reshape(-1, classes), label.reshape(-1, classes)):
            losses.append(-sum(q * np.log(p) for p, q in zip(row, share)))
        return losses
    for row, klass in zip(out.reshape(-1, classes), label.reshape(-1)):
        if options.get("use_ignore") and klass == options.get("ignore_label", -1):
            continue
        losses.append(-sum((1 - smooth if j == klass else smooth / (classes - 1)) * np.log(row[j])
                           for j in range(classes)))
    return losses


@pytest.mark.parametrize(("shape", "label", "options"), SOFTMAX, ids=map(name_of, SOFTMAX))
def test_the_softmax_reports_the_mean_of_its_items_before_the_normalization(rng, shape, label, options):
    net = mx.sym.SoftmaxOutput(mx.sym.var("data"), mx.sym.var("label"), **options)
    executor, arrays = executor_of(net, rng.randn(*shape), label)
    out = executor.forward()[0]
    loss = Loss(head="SoftmaxOutput", **options)
    loss.update(arrays["label"], out)
    losses = cross_entropy(out.asnumpy(), label, options)
    assert loss.get()[1] == pytest.approx(options.get("grad_scale", 1) * np.mean(losses), rel=1e-9)


def test_accuracy_leaves_out_what_is_ignored_and_counts_positions():
    out = mx.nd.array([[[.7, .2], [.3, .8]], [[.4, .9], [.6, .1]]])  # (batch, classes, positions)
    accuracy = Accuracy(multi_output=True, use_ignore=True, ignore_label=255)
    accuracy.update(mx.nd.array([[0, 0], [255, 0]]), out)
    assert accuracy.get() == ("accuracy", pytest.approx(2 / 3))


REPORTED = {  # of a single output 0.8 or, for SVM, scores (0.3, -2), by hand
    "LinearRegressionOutput": (0.8, 0.3, 0.125),
    "MAERegressionOutput": (0.8, 0.3, 0.5),
    "LogisticRegressionOutput": (0.8, 1.0, -np.log(0.8)),
}


@pytest.mark.parametrize("head", REPORTED)
def test_regression_reports_the_mean_over_elements(head):
    out, label, expected = REPORTED[head]
    loss = Loss(head=head, grad_scale=3.0)
    loss.update(mx.nd.array([[label, out], [out, out]]), mx.nd.array([[out, out], [out, out]]))
    rest = 3 * (-0.8 * np.log(0.8) - 0.2 * np.log(0.2)) if head.startswith("Log") else 0
    assert loss.get()[1] == pytest.approx(3 * (expected + rest) / 4, rel=1e-6)


@pytest.mark.parametrize(("options", "expected"), [({}, 0.7 ** 2 + 3 ** 2), ({"use_linear": True}, 3.7),
                                                   ({"margin": 0.1, "use_linear": True}, 2.1)])
def test_the_hinge_is_one_versus_the_rest(options, expected):
    loss = Loss(head="SVMOutput", regularization_coefficient=2.0, **options)
    loss.update(mx.nd.array([0]), mx.nd.array([[0.3, 2.0]]))
    assert loss.get()[1] == pytest.approx(2 * expected, rel=1e-6)


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", 87, 88), ("float16", 9, 18)])
def test_a_probability_that_was_rounded_to_zero_has_a_large_finite_loss(dtype, low, high):
    softmax, sigmoid, other = Loss(head="SoftmaxOutput"), *(Loss(head="LogisticRegressionOutput") for _ in range(2))
    softmax.update(mx.nd.array([1]), mx.nd.array([[1, 0]], dtype=dtype))
    assert low < softmax.get()[1] < high
    sigmoid.update(mx.nd.array([1]), mx.nd.array([0], dtype=dtype))
    assert low < sigmoid.get()[1] < high
    other.update(mx.nd.array([0]), mx.nd.array([1], dtype=dtype))
    assert 8 < other.get()[1] < 18


REFUSED = [
    ("SoftmaxOutput", {"out_grad": True}, "`out_grad` must be False: with it the head sends the gradient of no number"),
    ("SoftmaxOutput", {"normalization": "all"}, "`normalization` must be one of 'null', 'batch', 'valid', got 'all'"),
    ("SoftmaxOutput", {"grad_scale": "much"}, "`grad_scale` must be a number, got 'much'"),
    ("SoftmaxOutput", {"margin": 1.0}, "unknown attribute `margin`"),
    ("make_loss", {"grad_scale": 2.0}, "unknown attribute `grad_scale`"),
    ("Softmax", {}, "`head` must be one of 'SoftmaxOutput', "),
]


@pytest.mark.parametrize(("head", "options", "text"), REFUSED)
def test_options_without_a_value_are_refused(head, options, text):
    with pytest.raises(ValueError, match="mine: " + text):
        Loss("mine", head=head, **options)


UNFIT = [
    ("SoftmaxOutput", (2, 3, 4), np.zeros((2, 3)), {}, r"`output` must be \(batch, classes\): with more axes the head"
     r" misreads its labels, unless it has multi_output or preserve_shape, got \(2, 3, 4\)"),
    ("SoftmaxOutput", (2, 3), np.zeros(3), {}, r"`label` must be one for each item of an output \(2, 3\), got \(3,\)"),
    ("SoftmaxOutput", (2, 3, 4), np.zeros((2, 3)), {"multi_output": True}, "`label` must be one for each item"),
    ("SoftmaxOutput", (2, 3), [[.5, .5, 0], [.5, .5, .5]], {}, "`label` must be probabilities that sum to 1, got 1.5 in"
                                                              " row 1"),
    ("SoftmaxOutput", (2, 3), [0, 3], {}, r"`label` must be a whole number in \[0, 2\], got 3.0 in row 1"),
    ("SoftmaxOutput", (2, 3), [0, 7], {"use_ignore": True, "ignore_label": 8},
     r"`label` must be a whole number in \[0, 2\] or 8.0, got 7.0 in row 1"),
    ("SVMOutput", (2, 3), [0, -1], {}, r"`label` must be a whole number in \[0, 2\], got -1.0 in row 1"),
    ("LinearRegressionOutput", (2, 3), np.zeros(2), {}, "`label` must be one for each element of an output"),
    ("LinearRegressionOutput", (2, 3), np.zeros((3, 2)), {}, "`label` must be one for each element of an output"),
]


@pytest.mark.parametrize(("head", "shape", "label", "options", "text"), UNFIT)
def test_a_label_that_does_not_fit_is_refused_and_changes_nothing(head, shape, label, options, text):
    loss = Loss("mine", head=head, **options)
    with pytest.raises(ValueError, match="mine: " + text):
        loss.update(mx.nd.array(label), mx.nd.ones(shape) / 3)
    assert np.isnan(loss.get()[1])
