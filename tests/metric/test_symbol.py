"""from_symbol on the networks that people write: one device and several, windows, names, errors."""
import mxnet as mx
import numpy as np
import pytest

import mxloss

LABELS = ("softmax_label", "center_label")


def network(scale=0.5, grad_scale=3.0, labels=LABELS):
    data = mx.sym.var("data")
    variables = {name: mx.sym.var(name) for name in labels}
    softmax_label, center_label = (variables[name] for name in labels)
    embedding = mx.sym.FullyConnected(data, num_hidden=2, name="embedding")
    scores = mx.sym.FullyConnected(embedding, num_hidden=4, name="scores")
    center = mx.sym.Custom(data=embedding, label=center_label, name="center_loss_", op_type="centerloss", num_class=4,
                           alpha=0.5, scale=scale, batchsize=64)
    return mx.sym.Group([mx.sym.SoftmaxOutput(scores, softmax_label, name="softmax"),
                         mx.sym.MakeLoss(center, name="center_loss"),
                         mx.sym.MakeLoss(embedding.square().sum(axis=1), name="size", grad_scale=grad_scale)])


def module_of(net, batch=6, devices=1, labels=LABELS):
    module = mx.mod.Module(net, label_names=list(dict.fromkeys(labels)), context=[mx.cpu(i) for i in range(devices)])
    module.bind([("data", (batch, 3))], [(name, (batch,)) for name in dict.fromkeys(labels)])
    module.init_params(mx.init.Normal(1.0))
    module.init_optimizer(kvstore=None if devices == 1 else "local", optimizer="sgd",
                          optimizer_params={"learning_rate": 0.1})
    return module


def batches(rng, sizes):
    for size in sizes:
        data, label = rng.randn(size, 3), rng.randint(0, 4, size)
        yield mx.io.DataBatch([mx.nd.array(data)], [mx.nd.array(label), mx.nd.array(label)])


def expected(passes, scale=0.5, grad_scale=3.0):
    """Item means by hand, from each device's outputs: probabilities, mean center loss, squared sizes, labels."""
    right = softmax = center = size = items = 0
    for probability, mean, squares, label in passes:
        for row, klass in zip(probability, label.astype(int)):
            right += row.argmax() == klass
            softmax += -np.log(row[klass])
        center += scale * mean[0] * len(label)
        size += grad_scale * squares.sum()
        items += len(label)
    values = [right / items, softmax / items, center / items, size / items]
    return dict(zip(["accuracy", "softmax_loss", "center_loss", "size", "total_loss"], values + [sum(values[1:])]))


def train(module, metric, stream):
    """One pass over `stream`; what each device saw in it."""
    passes = []
    for batch in stream:
        module.forward_backward(batch)
        module.update()
        module.update_metric(metric, batch.label)
        devices = module.get_outputs(merge_multi_context=False)
        label, start = batch.label[0].asnumpy(), 0
        for outputs in zip(*devices):
            arrays = [output.asnumpy() for output in outputs]
            passes.append([*arrays, label[start:start + len(arrays[0])]])
            start += len(arrays[0])
    return passes


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_every_loss_is_the_mean_over_all_items_with_the_factor_of_its_gradient(rng, devices):
    net = network()
    module, metric = module_of(net, devices=devices), mxloss.metric.from_symbol(net)
    passes = train(module, metric, batches(rng, [6, 6, 3]))  # the last batch is a short one
    values = dict(metric.get_name_value())
    assert list(values) == ["accuracy", "softmax_loss", "center_loss", "size", "total_loss"]
    assert values == pytest.approx(expected(passes), rel=1e-5)
    assert all(type(value) is float for value in values.values())


@pytest.mark.parametrize("devices", [1, 2])
def test_a_window_starts_anew_and_the_epoch_goes_on(rng, devices):
    net = network()
    module, metric = module_of(net, devices=devices), mxloss.metric.from_symbol(net)
    first = train(module, metric, batches(rng, [6, 6]))
    metric.reset_local()
    assert np.isnan([value for _, value in metric.get_name_value()]).all()
    second = train(module, metric, batches(rng, [6]))
    assert dict(metric.get_name_value()) == pytest.approx(expected(second), rel=1e-5)
    assert dict(metric.get_global_name_value()) == pytest.approx(expected(first + second), rel=1e-5)
    metric.reset()
    assert np.isnan([value for _, value in metric.get_global_name_value()]).all()


def test_a_plain_update_takes_outputs_and_labels_in_order_or_by_name(rng):
    net = network()
    module = module_of(net)
    (batch,) = batches(rng, [6])
    by_module, by_list, by_name, by_device = (mxloss.metric.from_symbol(net) for _ in range(4))
    train(module, by_module, [batch])
    outputs = [output.copy() for output in module.get_outputs()]
    by_list.update(batch.label, outputs)
    by_name.update(dict(zip(LABELS, batch.label)), dict(zip(net.list_outputs(), outputs)))
    by_device.update([[label] for label in batch.label], [[output] for output in outputs])
    assert by_list.get() == by_name.get() == by_device.get() == by_module.get()


def test_one_label_variable_may_serve_both_losses(rng):
    labels = ("softmax_label", "softmax_label")
    net = network(labels=labels)
    module, metric = module_of(net, labels=labels), mxloss.metric.from_symbol(net)
    passes = train(module, metric, (mx.io.DataBatch(batch.data, batch.label[:1]) for batch in batches(rng, [6, 6])))
    assert dict(metric.get_name_value()) == pytest.approx(expected(passes), rel=1e-5)


def test_a_single_head_has_no_total():
    net = mx.sym.SoftmaxOutput(mx.sym.var("data"), name="softmax")
    assert mxloss.metric.from_symbol(net).get()[0] == ["accuracy", "softmax_loss"]


def test_several_classification_heads_have_accuracies_of_their_own():
    net = mx.sym.Group([mx.sym.SoftmaxOutput(mx.sym.var(name), name=name) for name in ("coarse", "fine")])
    assert mxloss.metric.from_symbol(net).get()[0] == [
        "coarse_accuracy", "fine_accuracy", "coarse_loss", "fine_loss", "total_loss"]


@pytest.mark.parametrize("devices", [1, 2])
def test_fit_keeps_every_move_of_the_centers(rng, devices):
    """The metric reads the operator's own output before fit writes the centers back."""
    net = network()
    data, label = rng.randn(120, 3).astype("float32"), rng.randint(0, 4, 120).astype("float32")
    train_iter = mx.io.NDArrayIter(data, dict.fromkeys(LABELS, label), batch_size=6)
    module = mx.mod.Module(net, label_names=list(LABELS), context=[mx.cpu(i) for i in range(devices)])
    metric = mxloss.metric.from_symbol(net)
    weights = {"embedding_weight": rng.randn(2, 3), "embedding_bias": np.zeros(2),
               "scores_weight": rng.randn(4, 2), "scores_bias": np.zeros(4)}
    arrays = {name: mx.nd.array(value) for name, value in weights.items()}
    module.fit(train_iter, eval_metric=metric, num_epoch=3, optimizer="sgd", optimizer_params={"learning_rate": 0.0},
               arg_params=arrays, initializer=mx.init.Zero())
    feature = data.astype(float) @ weights["embedding_weight"].T
    centers = np.zeros((devices, 4, 2))
    for _ in range(3):
        for start in range(0, 120, 6):
            for device, rows in enumerate(np.split(np.arange(start, start + 6), devices)):
                for klass in range(4):
                    own = rows[label[rows] == klass]
                    step = sum((centers[device, klass] - feature[row] for row in own), np.zeros(2)) / (1 + len(own))
                    centers[device, klass] -= 0.5 * step
        centers[:] = centers.mean(axis=0)  # fit reads the mean over devices and writes it back, each epoch
    np.testing.assert_allclose(module.get_params()[1]["center_loss__center_bias"].asnumpy(), centers[0], atol=1e-5)


@pytest.mark.parametrize(("wrong", "which"), [(-1, "softmax_loss"), (4, "accuracy"), (1.5, "accuracy"),
                                              (float("nan"), "accuracy")])
def test_a_label_that_is_no_class_is_told_at_the_update_and_counts_nothing(rng, wrong, which):
    net = network()
    metric = mxloss.metric.from_symbol(net)
    label = mx.nd.array([0, 1, wrong, 3])
    outputs = [mx.nd.ones((4, 4)) / 4, mx.nd.ones(1), mx.nd.ones(4)]
    with pytest.raises(ValueError, match=r"`label` must be a whole number in \[0, 3\], got {} in row 2".format(
            float(wrong))):
        metric.update([label, label], outputs)
    assert np.isnan(metric.get()[1]).all()


def test_the_words_of_a_failing_operator_reach_the_reader():
    net = mx.sym.MakeLoss(mx.sym.Custom(mx.sym.var("data"), mx.sym.var("label"), op_type="centerloss", num_class=3,
                                        name="center"), name="center_loss")
    executor = net.bind(mx.cpu(), {"data": mx.nd.ones((2, 2)), "label": mx.nd.array([0, 7])},
                        aux_states={"center_center_bias": mx.nd.zeros((3, 2))})
    metric = mxloss.metric.Loss("center_loss", ["center_loss_output"])
    metric.update_dict({}, dict(zip(net.list_outputs(), executor.forward())))
    with pytest.raises(ValueError, match=r"centerloss: `label` must be a whole number in \[0, 2\], got 7.0 in row 1"):
        metric.get()
    with pytest.raises(ValueError, match="got 7.0 in row 1"):  # the engine tells it once; the metric does not forget
        metric.get()
    metric.reset()
    assert np.isnan(metric.get()[1])


@pytest.mark.parametrize(("labels", "outputs", "text"), [
    (["other_label"], ["softmax_output", "center_loss_output", "size_output"],
     r"accuracy: `label_names` must be among the labels \(other_label\) or .*, got 'softmax_label'"),
    (LABELS, ["softmax_output", "center_output", "size_output"],
     "center_loss: `output_names` must be among 'softmax_output', 'center_output', 'size_output', got"
     " 'center_loss_output'"),
])
def test_a_name_that_is_missing_in_an_update_is_told_with_those_that_are_there(labels, outputs, text):
    metric = mxloss.metric.from_symbol(network())
    arrays = dict(zip(outputs, [mx.nd.ones((2, 4)), mx.nd.ones(1), mx.nd.ones(2)]))
    with pytest.raises(ValueError, match=text):
        metric.update_dict({name: mx.nd.zeros(2) for name in labels}, arrays)


def test_a_name_that_is_not_in_the_group_is_told_with_those_that_are():
    extra = mxloss.metric.Loss("mine", output_names=["sizes_output"])
    with pytest.raises(ValueError, match="must be among 'softmax_output', 'center_loss_output', 'size_output', got"
                                         " 'sizes_output'"):
        mxloss.metric.from_symbol(network(), extra=[extra])


def test_two_metrics_of_one_name_are_refused():
    net = mx.sym.Group([mx.sym.SoftmaxOutput(mx.sym.var("data"), name="softmax"),
                        mx.sym.MakeLoss(mx.sym.var("penalty"), name="softmax_loss")])
    with pytest.raises(ValueError, match="`name` must be another one for each metric, got 'softmax_loss'"):
        mxloss.metric.from_symbol(net)


def test_a_network_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="`symbol` must be a network with a head that has a loss"):
        mxloss.metric.from_symbol(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc"))
