"""The five numbers, by loops over images and pairs."""
import mxnet as mx
import numpy as np
import pytest

from examples.mnist_center_loss import measures, network


@pytest.fixture
def embedded(rng):
    label = np.concatenate([np.arange(10), rng.randint(0, 10, 35)]).astype(np.float32)
    embedding = (rng.randn(45, 2) + np.stack([3 * np.cos(label), 5 * np.sin(label)], axis=1)).astype(np.float32)
    return embedding, rng.randn(45, 10).astype(np.float32), label


def test_class_means_are_the_means_of_each_class(embedded):
    embedding, _, label = embedded
    for digit, center in enumerate(measures.class_means(embedding, label)):
        own = [row for row, klass in zip(embedding, label) if klass == digit]
        assert center == pytest.approx(sum(np.float64(own)) / len(own))


def test_the_numbers_are_those_of_a_plain_loop(embedded):
    embedding, scores, label = embedded
    centers = measures.class_means(embedding[:30], np.concatenate([np.arange(10), label[10:30]])) + 0.1
    right = near = own = 0
    for point, score, digit in zip(embedding, scores, label.astype(int)):
        lengths = [sum((float(a) - float(b)) ** 2 for a, b in zip(point, center)) ** 0.5 for center in centers]
        right += list(score).index(max(score)) == digit
        near += lengths.index(min(lengths)) == digit
        own += lengths[digit]
    between = [sum((a - b) ** 2 for a, b in zip(centers[i], centers[j])) ** 0.5 for i in range(10) for j in range(i)]
    assert measures.measure(embedding, scores, label, centers) == pytest.approx({
        "test_accuracy": right / 45, "nearest_center_accuracy": near / 45, "own_center_distance": own / 45,
        "between_center_distance": sum(between) / 45,
        "distance_ratio": own / 45 / (sum(between) / 45)})


def test_the_ratio_does_not_depend_on_the_scale_of_the_embedding(embedded):
    embedding, scores, label = embedded
    centers = measures.class_means(embedding, label)
    small, large = (measures.measure(factor * embedding, scores, label, factor * centers) for factor in (1, 8))
    assert large["distance_ratio"] == pytest.approx(small["distance_ratio"])
    assert large["own_center_distance"] == pytest.approx(8 * small["own_center_distance"])


def test_centers_in_one_point_have_no_ratio(embedded):
    embedding, scores, label = embedded
    assert measures.measure(embedding, scores, label, np.zeros((10, 2)))["distance_ratio"] is None


def test_the_table_has_a_column_per_model():
    numbers = {"test_accuracy": 0.98471, "nearest_center_accuracy": 0.5, "own_center_distance": 1.25,
               "between_center_distance": 12.0, "distance_ratio": None}
    assert measures.table([("one", numbers), ("softmax + center loss", numbers)]).splitlines() == [
        "                             one  softmax + center loss",
        "test accuracy             98.47%                 98.47%",
        "nearest-center accuracy   50.00%                 50.00%",
        "distance to own center     1.250                  1.250",
        "distance between centers  12.000                 12.000",
        "ratio                          -                      -"]


@pytest.mark.parametrize("count", [7, 4, 3])
def test_outputs_are_those_of_the_trained_network_for_every_image(rng, count):
    image = rng.rand(count, 1, 28, 28).astype(np.float32)
    net = network.softmax_and_center("mlp", alpha=0.5, weight=0.1, batch_size=4)
    module = mx.mod.Module(net, label_names=network.CENTER_LABELS)
    module.bind([("data", image.shape)], [(name, (count,)) for name in network.CENTER_LABELS])
    module.init_params(mx.init.Xavier())
    embedding, scores = measures.outputs(net, *module.get_params(), image, mx.cpu(), batch_size=4)
    assert embedding.shape == (count, 2)
    module.forward(mx.io.DataBatch([mx.nd.array(image)], [mx.nd.zeros(count)] * 2), is_train=False)
    odds = np.exp(scores.astype(np.float64))
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), odds / odds.sum(axis=1, keepdims=True), rtol=1e-4)
