"""The networks: one body, one or two heads."""
import mxnet as mx
import pytest

import mxloss
from examples.mnist_center_loss import network

CENTER = {"alpha": 0.25, "weight": 0.03, "batch_size": 8}


@pytest.mark.parametrize("name", sorted(network.NETWORKS))
def test_both_models_have_the_same_weights_beneath_their_heads(name):
    alone, both = network.softmax_alone(name), network.softmax_and_center(name, **CENTER)
    assert set(both.list_arguments()) - set(alone.list_arguments()) == {"center_label"}
    assert set(alone.list_arguments()) < set(both.list_arguments())
    assert alone.list_outputs() == ["softmax_output"]
    assert both.list_outputs() == ["softmax_output", "center_loss_output"]
    assert both.list_auxiliary_states() == ["center_loss__center_bias"]
    shapes = dict(zip(both.list_arguments(), both.infer_shape(data=(8, 1, 28, 28), softmax_label=(8,))[0]))
    assert shapes["embedding_weight"][0] == 2
    assert shapes["scores_weight"] == (10, 2)


def test_lenet_has_the_layers_of_the_well_known_example():
    net = network.softmax_alone("lenet")
    shapes = dict(zip(net.list_arguments(), net.infer_shape(data=(8, 1, 28, 28))[0]))
    weights = {name: shape for name, shape in shapes.items() if name.endswith("_weight")}
    assert list(weights.values()) == [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (2, 500), (10, 2)]


def test_the_center_loss_gets_its_options():
    options = network.softmax_and_center("mlp", **CENTER).attr_dict()["center_loss_"]
    assert {key: float(options[key]) for key in ("num_class", "alpha", "scale", "batchsize")} == {
        "num_class": 10, "alpha": 0.25, "scale": 0.03, "batchsize": 8}


def test_each_model_reports_its_losses_by_name():
    for net, names in ((network.softmax_alone("mlp"), ["accuracy", "softmax_loss"]),
                       (network.softmax_and_center("mlp", **CENTER),
                        ["accuracy", "softmax_loss", "center_loss", "total_loss"])):
        assert [name for name, _ in mxloss.metric.from_symbol(net).get_name_value()] == names


def test_without_heads_needs_images_and_weights_alone():
    net = network.without_heads(network.softmax_and_center("mlp", **CENTER))
    assert net.list_outputs() == ["embedding_output", "scores_output"]
    assert not [name for name in net.list_arguments() if name.endswith("label")]
    assert isinstance(net, mx.sym.Symbol)
