"""The Estimator trains named losses as `train_step` does, and reports each of them."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon.contrib import estimator as stock

import mxloss
from mxloss.estimator import BatchProcessor, DataIterLoader, Estimator, GradientUpdateHandler, MetricHandler

from .network import assert_same, contexts, estimator, loader, network, numbers, samples, trainer


def values(metrics):
    return dict(metric.get() for metric in metrics)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_the_steps_are_those_of_train_step(devices, hybridize):
    """Also of the last batch of 5 samples on 2 or 3 devices, for the second epoch."""
    made = estimator(devices, hybridize)
    made.fit(loader(21, 8), epochs=2)
    net, losses = network(devices, hybridize)
    own = trainer(net, losses)
    for _ in range(2):
        for batch in loader(21, 8):
            mxloss.train_step(net, losses, own, batch)
    assert_same(numbers(made), {name: [array.asnumpy() for array in parameter.list_data()] for name, parameter in
                                {**net.collect_params(), **losses.collect_params()}.items()})


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("update_on_kvstore", [True, False])
def test_devices_without_a_sample_contribute_nothing(update_on_kvstore, hybridize):
    """The last batch has 1 sample, and 3 devices wait for one."""
    one, three = estimator(1, hybridize), estimator(3, hybridize, update_on_kvstore=update_on_kvstore)
    for made in (one, three):
        made.fit(loader(13, 6), epochs=2)
    assert_same({name: arrays * 3 for name, arrays in numbers(one).items()}, numbers(three), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_gathered_batches_step_as_one_large_batch(devices):
    """Of 7 batches of 3 samples, 3 and 3 make a step, and at the end of the epoch the last."""
    gathered, large = estimator(devices), estimator(devices)
    gathered.fit(loader(20, 3), epochs=2, event_handlers=[GradientUpdateHandler(batches=3)])
    large.fit(loader(20, 9), epochs=2)
    assert_same(numbers(gathered), numbers(large), rtol=1e-4, atol=1e-6)
    assert {parameter.grad_req for parameter in gathered.net.collect_params().values()} == {"write"}


def test_gathering_leaves_out_devices_without_a_sample_too():
    one, two = estimator(1), estimator(2)
    for made in (one, two):
        made.fit(loader(13, 4), epochs=2, event_handlers=GradientUpdateHandler(batches=4))
    assert_same({name: arrays * 2 for name, arrays in numbers(one).items()}, numbers(two), rtol=1e-4, atol=1e-6)


def test_each_loss_is_reported_over_all_samples_before_their_step():
    made, (net, losses) = estimator(2), network(1)
    with mx.autograd.train_mode():
        total, parts = losses(net(mx.nd.array(samples(6)[0])), mx.nd.array(samples(6)[1]))
    made.fit(loader(6, 6), val_data=loader(5, 2), epochs=1)
    assert values(made.train_metrics) == {
        "training softmax": pytest.approx(parts["softmax"].mean().asscalar(), rel=1e-5),
        "training distance": pytest.approx(parts["distance"].mean().asscalar(), rel=1e-5),
        "training total_loss": pytest.approx(total.mean().asscalar(), rel=1e-5)}
    data, label = (mx.nd.array(column) for column in samples(5))
    total, parts = made.loss([output.as_in_context(mx.cpu(0)) for output in made.net(data)], label)
    assert values(made.val_metrics) == {
        "validation softmax": pytest.approx(parts["softmax"].mean().asscalar(), rel=1e-5),
        "validation distance": pytest.approx(parts["distance"].mean().asscalar(), rel=1e-5),
        "validation total_loss": pytest.approx(total.mean().asscalar(), rel=1e-5)}


def test_metrics_find_outputs_and_labels_by_name():
    accuracies = [mxloss.metric.Accuracy("ours", output_names=[0]),
                  mx.metric.Accuracy(name="stock", output_names=[0], label_names=[0]), mx.metric.Loss("summed")]
    made = estimator(2, train_metrics=accuracies)
    made.fit(loader(7, 7), val_data=loader(7, 2), epochs=1)
    net, losses = network()
    data, label = samples(7)
    right = (net(mx.nd.array(data))[0].argmax(axis=1).asnumpy() == label).mean()
    total, _ = losses(net(mx.nd.array(data)), mx.nd.array(label))
    found = values(made.train_metrics)
    assert found["training ours"] == found["training stock"] == pytest.approx(right)
    assert found["training summed"] == pytest.approx(total.mean().asscalar(), rel=1e-5)
    found = values(made.val_metrics)
    assert found["validation ours"] == found["validation stock"]
    assert list(found)[:3] == ["validation ours", "validation stock", "validation summed"]


def test_metrics_without_names_read_a_network_with_one_output():
    net = gluon.nn.Dense(3, in_units=3)
    net.initialize()
    made = Estimator(net, gluon.loss.SoftmaxCELoss(), mx.metric.Accuracy(),
                     trainer=gluon.Trainer(net.collect_params(), "sgd"))
    made.logger.handlers.clear()
    made.fit(loader(5, 2), epochs=1)
    assert list(values(made.train_metrics)) == ["training accuracy", "training loss"]


@pytest.mark.parametrize("hybridize", [False, True])
def test_penalties_are_trained_and_reported_without_having_been_named(hybridize):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(3, in_units=3), mxloss.ActivityPenalty(weight=0.1))
    net = mxloss.WithPenalties(net)
    net.initialize(ctx=contexts(2))
    if hybridize:
        net.hybridize()
    made = Estimator(net, gluon.loss.SoftmaxCELoss(), trainer=gluon.Trainer(net.collect_params(), "sgd"))
    made.logger.handlers.clear()
    made.fit(loader(5, 2), val_data=loader(5, 2), epochs=1)
    found = values(made.train_metrics)
    assert found["training total_loss"] == pytest.approx(found["training loss"] + found["training activity"])
    assert list(values(made.val_metrics)) == ["validation loss", "validation activity", "validation total_loss"]


def test_iterators_are_taken_without_their_padding():
    padded, plain = estimator(2), estimator(2)
    padded.fit(mx.io.NDArrayIter(*samples(7), batch_size=4), mxloss.io.ArrayIter(*samples(7), 4), epochs=2)
    plain.fit(loader(7, 4), epochs=2)
    assert_same(numbers(padded), numbers(plain))


@pytest.mark.slow
def test_a_loader_with_workers_gives_the_same_training():
    alone, helped = estimator(2), estimator(2)
    alone.fit(loader(21, 8), epochs=2)
    helped.fit(loader(21, 8, num_workers=2), epochs=2)
    assert_same(numbers(alone), numbers(helped))


def test_the_batch_processor_serves_mxnets_own_estimator():
    net, losses = network(2)
    made = stock.Estimator(net, gluon.loss.L2Loss(), trainer=trainer(net, losses), context=contexts(2),
                           batch_processor=BatchProcessor(losses))
    made.logger.handlers.clear()
    made.fit(loader(21, 8), epochs=2, event_handlers=[MetricHandler([made.train_metrics[-1]])])
    ours = estimator(2)
    ours.fit(loader(21, 8), epochs=2)
    made.loss = losses
    assert_same(numbers(made), numbers(ours))


class Pairs(gluon.data.Dataset):
    """Two inputs, and two labels that stand beside them."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return (np.float32([index, 1]), np.float32([2, index])), np.float32(index), np.float32(1)


def test_a_network_may_take_several_inputs_and_several_labels():
    class Product(gluon.HybridBlock):
        def hybrid_forward(self, F, a, b):
            return (a * b).sum(axis=1), a.sum(axis=1)

    losses = mxloss.LossGroup({"first": gluon.loss.L2Loss(), "second": gluon.loss.L1Loss()},
                              outputs={"second": 1}, labels={"second": 1})
    parameter = gluon.Parameter("w", shape=(1,))
    parameter.initialize()
    made = Estimator(Product(), losses, trainer=gluon.Trainer([parameter], "sgd"))
    made.logger.handlers.clear()
    made.evaluate(gluon.data.DataLoader(Pairs(), 2))
    found = values(made.val_metrics)
    assert found["validation first"] == pytest.approx(np.mean([(2 * i + i - i) ** 2 / 2 for i in range(5)]))
    assert found["validation second"] == pytest.approx(np.mean([i + 1 - 1 for i in range(5)]))


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"loss": "l2"}, TypeError, r"Estimator: `loss` must be a LossGroup or a loss block, got 'l2'"),
    ({"trainer": None}, TypeError, r"Estimator: `trainer` must be a gluon.Trainer, got None"),
    ({"context": [mx.cpu(0)]}, ValueError, r"Estimator: `context` must be the devices of the network, "
                                           r"\[cpu\(0\), cpu\(1\)\], got \[cpu\(0\)\]"),
])
def test_bad_arguments_are_named(options, error, words):
    net, losses = network(2)
    options = {"loss": losses, "trainer": trainer(net, losses), **options}
    with pytest.raises(error, match=words):
        Estimator(net, **options)


def test_a_trainer_that_forgets_the_losses_parameters_is_an_error():
    net, losses = network()
    with pytest.raises(ValueError, match=r"Estimator: `trainer` must be of the parameters of the losses too, .* "
                                         r"got 'none for distance_point'"):
        Estimator(net, losses, trainer=gluon.Trainer(net.collect_params(), "sgd"))


def test_a_loss_of_the_name_of_an_output_is_an_error():
    class Named(gluon.Block):
        def forward(self, x):
            return {"score": x[:, 0]}

    made = Estimator(Named(), mxloss.LossGroup({"score": gluon.loss.L2Loss()}, outputs={"score": "score"}),
                     trainer=trainer(*network()))
    with pytest.raises(ValueError, match=r"`losses` must be of other names than the outputs of the network, "
                                         r"got 'score'"):
        made.evaluate(loader(2, 2))


@pytest.mark.parametrize(("train", "words"), [
    ([1, 2], r"fit: `train_data` must be a gluon.data.DataLoader or a mx.io.DataIter, got \[1, 2\]"),
])
def test_data_has_to_be_a_loader_or_an_iterator(train, words):
    with pytest.raises(TypeError, match=words):
        estimator().fit(train, epochs=1)


def test_columns_of_different_lengths_are_named():
    made = estimator()
    with pytest.raises(ValueError, match=r"fit_batch: `batch` must be of 3 samples in each array, got \(2,\)"):
        made.batch_processor.fit_batch(made, [mx.nd.ones((3, 3)), mx.nd.ones(2)])


def test_a_data_iter_loader_takes_iterators_alone():
    with pytest.raises(TypeError, match=r"DataIterLoader: `data_iter` must be a mx.io.DataIter, got 3"):
        DataIterLoader(3)
