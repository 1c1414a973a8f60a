"""from_symbol on heads and labels that networks hide: behind reshapes, made by the network, refused."""
import mxnet as mx
import numpy as np
import pytest

import mxloss
from mxloss.metric import from_symbol

LABEL = np.array([[2, 0, 3], [1, 1, 0]])


def outputs_of(net, **arrays):
    arrays = {name: mx.nd.array(value) for name, value in arrays.items()}
    executor = net.bind(mx.cpu(), arrays, grad_req="null")
    return dict(zip(net.list_outputs(), executor.forward()))


def cross_entropy(scores, label):
    """Mean over items; scores (items, classes)."""
    total = 0
    for row, klass in zip(scores, label):
        total += np.log(np.exp(row).sum()) - row[klass]
    return total / len(label)


def report(net, label, **arrays):
    metric = from_symbol(net)
    metric.update_dict({name: mx.nd.array(value) for name, value in label.items()}, outputs_of(net, **arrays, **label))
    return dict(metric.get_name_value())


FLAT_SCORES = [
    ("reshaped", lambda head: mx.sym.Reshape(head, shape=(2, 3, 4))),
    ("flattened", mx.sym.Flatten),
    ("transposed", lambda head: mx.sym.transpose(head, axes=(1, 0))),
    ("swapped", lambda head: mx.sym.swapaxes(head, dim1=0, dim2=1)),
    ("reshaped and transposed", lambda head: mx.sym.transpose(mx.sym.Reshape(head, shape=(2, 3, 4)), axes=(2, 0, 1))),
    ("expanded and squeezed", lambda head: mx.sym.squeeze(mx.sym.expand_dims(head, axis=0))),
]


@pytest.mark.parametrize("change", [change for _, change in FLAT_SCORES], ids=[name for name, _ in FLAT_SCORES])
def test_a_head_is_found_behind_operators_that_only_change_the_shape(rng, change):
    scores = rng.randn(6, 4)
    label = mx.sym.Reshape(mx.sym.var("label"), shape=(-1,))
    net = change(mx.sym.SoftmaxOutput(mx.sym.var("data"), label, name="softmax"))
    values = report(net, {"label": LABEL}, data=scores)
    assert values["softmax_loss"] == pytest.approx(cross_entropy(scores, LABEL.reshape(-1)), rel=1e-5)
    assert values["accuracy"] == np.mean(scores.argmax(axis=1) == LABEL.reshape(-1))


@pytest.mark.parametrize("change", [lambda head: head, lambda head: mx.sym.Reshape(head, shape=(-1, 4, 1, 3)),
                                    lambda head: mx.sym.transpose(head, axes=(0, 2, 1))])
def test_positions_keep_their_labels(rng, change):
    scores = rng.randn(2, 4, 3)
    net = change(mx.sym.SoftmaxOutput(mx.sym.var("data"), mx.sym.var("label"), multi_output=True, name="softmax"))
    values = report(net, {"label": LABEL}, data=scores)
    rows = scores.transpose(0, 2, 1).reshape(6, 4)
    assert values["softmax_loss"] == pytest.approx(cross_entropy(rows, LABEL.reshape(-1)), rel=1e-5)
    assert values["accuracy"] == np.mean(rows.argmax(axis=1) == LABEL.reshape(-1))


def test_labels_are_brought_into_the_order_that_the_network_gives_them(rng):
    scores = rng.randn(6, 4)  # time-major, as recurrent networks have it
    label = mx.sym.Reshape(mx.sym.transpose(mx.sym.var("label")), shape=(-1,))
    net = mx.sym.SoftmaxOutput(mx.sym.var("data"), label, name="softmax")
    assert report(net, {"label": LABEL}, data=scores)["softmax_loss"] == pytest.approx(
        cross_entropy(scores, LABEL.T.reshape(-1)), rel=1e-5)


@pytest.mark.parametrize("shape", [None, (2, 3)])
def test_a_label_that_the_network_makes_is_read_from_an_output(rng, shape):
    scores, made = rng.randn(6, 4), 3 - mx.sym.Reshape(mx.sym.var("label"), shape=(-1,))
    shown = mx.sym.BlockGrad(made if shape is None else mx.sym.Reshape(made, shape=shape))
    head = mx.sym.SoftmaxOutput(mx.sym.var("data"), made, name="softmax")
    values = report(mx.sym.Group([head, shown]), {"label": LABEL}, data=scores)
    assert list(values) == ["accuracy", "softmax_loss"]  # what is shown is no loss
    assert values["softmax_loss"] == pytest.approx(cross_entropy(scores, 3 - LABEL.reshape(-1)), rel=1e-5)
    with pytest.raises(ValueError, match="`symbol` must be a Group that shows the label which the network makes for"
                                         " `softmax` as an output, BlockGrad"):
        from_symbol(head)


def test_a_label_of_the_network_that_is_no_class_is_told_when_it_is_read():
    made = mx.sym.var("label") + 1
    net = mx.sym.Group([mx.sym.SoftmaxOutput(mx.sym.var("data"), made, name="softmax"), mx.sym.BlockGrad(made)])
    metric = from_symbol(net)
    label = np.array([0., 3, 3, 1])
    metric.update_dict({}, outputs_of(net, data=np.zeros((4, 4)), label=label))
    with pytest.raises(ValueError, match="accuracy: `label` must be one that has a loss, got 2 that have none in"
                                         " batch 0"):
        metric.get()


def test_data_that_serve_as_a_label_are_read_from_an_output(rng):
    data, decoded = rng.randn(3, 2), rng.randn(3, 2)
    variable = mx.sym.var("data")
    net = mx.sym.Group([mx.sym.LinearRegressionOutput(mx.sym.var("decoded"), variable, name="copy"),
                        mx.sym.BlockGrad(variable)])
    metric = from_symbol(net)
    metric.update_dict({}, outputs_of(net, data=data, decoded=decoded))
    assert metric.get() == (["copy_loss"], [pytest.approx(((data - decoded) ** 2).mean() / 2, rel=1e-5)])


def test_a_detector_is_read_as_it_stands(rng):
    """The heads of a two-stage detector: proposals with ignored anchors, classes and boxes of sampled regions."""
    anchors, regions = rng.randn(2, 2, 5), rng.randn(6, 4)
    anchor_label = np.array([[0, 1, -1, -1, 1], [-1, 0, 0, 1, -1]])
    boxes = rng.randn(6, 8)
    made = mx.sym.Reshape(mx.sym.var("sampled"), shape=(-1,)) * 1
    net = mx.sym.Group([
        mx.sym.SoftmaxOutput(mx.sym.var("anchors"), mx.sym.var("anchor_label"), multi_output=True, use_ignore=True,
                             ignore_label=-1, normalization="valid", name="rpn_cls"),
        mx.sym.Reshape(mx.sym.SoftmaxOutput(mx.sym.var("regions"), made, normalization="batch", name="rcnn_cls"),
                       shape=(2, -1, 4)),
        mx.sym.Reshape(mx.sym.MakeLoss(mx.sym.smooth_l1(mx.sym.var("boxes"), scalar=1.0), grad_scale=1 / 6,
                                       name="rcnn_box"), shape=(2, -1, 8)),
        mx.sym.BlockGrad(mx.sym.Reshape(made, shape=(2, -1))),
    ])
    metric = from_symbol(net)
    arrays = {"anchors": anchors, "regions": regions, "boxes": boxes, "sampled": LABEL, "anchor_label": anchor_label}
    metric.update_dict({"anchor_label": mx.nd.array(anchor_label)}, outputs_of(net, **arrays))
    rows, kept = anchors.transpose(0, 2, 1).reshape(-1, 2), anchor_label.reshape(-1) >= 0
    smooth = np.where(abs(boxes) < 1, boxes ** 2 / 2, abs(boxes) - 0.5)
    first = cross_entropy(rows[kept], anchor_label.reshape(-1)[kept])
    second, third = cross_entropy(regions, LABEL.reshape(-1)), smooth.mean() / 6
    assert dict(metric.get_name_value()) == pytest.approx({
        "rpn_cls_accuracy": np.mean(rows[kept].argmax(axis=1) == anchor_label.reshape(-1)[kept]),
        "rcnn_cls_accuracy": np.mean(regions.argmax(axis=1) == LABEL.reshape(-1)),
        "rpn_cls_loss": first, "rcnn_cls_loss": second, "rcnn_box": third, "total_loss": first + second + third},
        rel=1e-5)
    values = metric.value({"anchor_label": mx.nd.array(anchor_label)}, outputs_of(net, **arrays))
    assert values == pytest.approx({"rpn_cls_loss": first, "rcnn_cls_loss": second, "rcnn_box": smooth.sum() / 6},
                                   rel=1e-5)


def test_each_regression_head_is_a_loss_of_its_own_name(rng):
    data, label, variable = rng.randn(3, 2), rng.rand(3, 2), mx.sym.var("data")
    net = mx.sym.Group([getattr(mx.sym, head)(variable, mx.sym.var(name + "_label"), name=name, grad_scale=2)
                        for name, head in [("l", "LinearRegressionOutput"), ("m", "MAERegressionOutput"),
                                           ("s", "LogisticRegressionOutput")]])
    values = report(net, {name + "_label": label for name in "lms"}, data=data)
    p = 1 / (1 + np.exp(-data))
    expected = {"l_loss": (data - label) ** 2, "m_loss": 2 * abs(data - label),
                "s_loss": -2 * (label * np.log(p) + (1 - label) * np.log(1 - p))}
    expected = {name: losses.mean() for name, losses in expected.items()}
    assert values == pytest.approx(dict(expected, total_loss=sum(expected.values())), rel=1e-5)


def test_a_hinge_head_is_a_loss_without_an_accuracy(rng):
    net = mx.sym.SVMOutput(mx.sym.var("data"), mx.sym.var("label"), use_linear=True, name="svm")
    assert list(report(net, {"label": LABEL.reshape(-1)}, data=rng.randn(6, 4))) == ["svm_loss"]


@pytest.mark.parametrize(("made", "expected"), [
    (lambda loss: mx.sym.MakeLoss(loss, name="mine", grad_scale=0.5), 0.5 * 2.0),
    (lambda loss: mx.sym.MakeLoss(mx.sym.mean(loss), name="mine", grad_scale=0.5), 0.5 * 2.0),
    (lambda loss: mx.sym.MakeLoss(0.1 * mx.sym.mean(loss), name="mine"), 0.1 * 2.0),
    (lambda loss: mx.sym.MakeLoss(mx.sym.sum(loss) / 4, name="mine"), 2.0),
    (lambda loss: mx.sym.MakeLoss(mx.sym.sum(loss), name="mine"), 2.0),
    (lambda loss: mx.sym.MakeLoss(0.1 * mx.sym.sum(loss), name="mine"), 0.1 * 2.0),
    (lambda loss: mx.sym.make_loss(loss, name="mine", grad_scale=9), 2.0),
    (lambda loss: mx.sym.Reshape(mx.sym.MakeLoss(mx.sym.Reshape(loss, shape=(2, 2)), name="mine"), shape=(-1,)), 2.0),
])
def test_a_made_loss_is_reported_per_item_with_its_factor(made, expected):
    net = made(mx.sym.var("losses"))
    metric = from_symbol(net)
    metric.update_dict({"label": mx.nd.zeros(4)}, outputs_of(net, losses=[1, 2, 4, 1]))
    assert metric.get() == (["mine"], [pytest.approx(expected)])


def test_a_per_sample_center_loss_of_a_block_is_a_made_loss(rng):
    class Distance(mx.gluon.loss.Loss):
        def hybrid_forward(self, F, feature, center):
            return mxloss.loss.center_loss(feature, center) * 0.01

    feature, center = rng.randn(5, 2), rng.randn(5, 2)
    net = mx.sym.MakeLoss(Distance(None, 0)(mx.sym.var("feature"), mx.sym.var("center")), name="center_loss")
    values = report(net, {}, feature=feature, center=center)
    assert values == {"center_loss": pytest.approx(0.01 * ((feature - center) ** 2).sum() / 2 / 5, rel=1e-5)}


def test_a_center_loss_without_make_loss_is_a_loss(rng):
    net = mx.sym.Custom(mx.sym.var("data"), mx.sym.var("label"), op_type="centerloss", num_class=4, scale=0.5, name="c")
    metric = from_symbol(net)
    metric.update_dict({"label": mx.nd.array([1, 2])}, {"c_output": mx.nd.array([3])})
    assert metric.get() == (["c"], [1.5])


def test_a_head_that_two_outputs_show_is_one_loss():
    head = mx.sym.SoftmaxOutput(mx.sym.var("data"), name="softmax")
    net = mx.sym.Group([head, mx.sym.Reshape(head, shape=(-1,))])
    assert from_symbol(net).get()[0] == ["accuracy", "softmax_loss"]


def center(factor):
    loss = mx.sym.Custom(mx.sym.var("data"), mx.sym.var("label"), op_type="centerloss", num_class=4, name="c")
    return mx.sym.MakeLoss(loss * factor, name="center_loss")


REFUSED = [
    (center(3), "`symbol` must be one in which MakeLoss stands right behind centerloss, .* its loss is not what"
                " `center_loss` shows"),
    (mx.sym.Reshape(mx.sym.transpose(mx.sym.SoftmaxOutput(mx.sym.var("data"), name="softmax")), shape=(-1,)),
     "`symbol` must be one whose outputs tell the shape of its heads: `softmax` is transposed and then reshaped"),
    (mx.sym.SoftmaxOutput(mx.sym.var("data"), name="softmax", out_grad=True), "`out_grad` must be False"),
    (mx.sym.BlockGrad(mx.sym.SoftmaxOutput(mx.sym.var("data"), name="softmax")),
     "a network with a head that has a loss"),
]


@pytest.mark.parametrize(("net", "text"), REFUSED)
def test_what_the_outputs_do_not_tell_is_refused(net, text):
    with pytest.raises(ValueError, match=text):
        from_symbol(net)
