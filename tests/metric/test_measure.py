"""Measures beside the losses, by plain loops."""
import mxnet as mx
import numpy as np
import pytest

from mxloss.metric import (
    CenterAccuracy,
    CenterDistance,
    CenterSpread,
    ClassAccuracy,
    FeatureNorm,
    TopK,
    from_symbol,
)


@pytest.fixture
def case(rng):
    return {"scores": rng.rand(7, 5), "label": rng.randint(0, 5, 7), "feature": rng.randn(7, 3),
            "centers": rng.randn(5, 3)}


def update(metric, case, *preds):
    for rows in (slice(0, 4), slice(4, 7)):
        arrays = [mx.nd.array(case[name] if name == "centers" else case[name][rows]) for name in preds]
        metric.update_dict({"label": mx.nd.array(case["label"][rows])}, dict(zip(preds, arrays)))
    return metric.get()[1]


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_top_k(case, k):
    hits = [klass in np.argsort(-row)[:k] for row, klass in zip(case["scores"], case["label"])]
    assert update(TopK(k=k), case, "scores") == pytest.approx(np.mean(hits))


def test_top_k_is_not_helped_by_ties_or_nan():
    top = TopK(k=2)
    top.update(mx.nd.array([1, 1, 0]), mx.nd.array([[1, 0, 0, 0], [float("nan")] * 4, [.4, .4, .1, .1]]))
    assert top.get()[1] == pytest.approx(1 / 3)


def test_class_accuracy(case):
    found = case["scores"].argmax(axis=1)
    expected = [np.mean(found[case["label"] == klass] == klass) if (case["label"] == klass).any() else np.nan
                for klass in range(5)]
    np.testing.assert_allclose(update(ClassAccuracy(num_class=5), case, "scores"), expected)


@pytest.mark.parametrize("how", ["output", "array", "list", "function"])
def test_center_measures(case, how):
    given = {"output": None, "array": mx.nd.array(case["centers"]), "list": case["centers"].tolist(),
             "function": lambda: mx.nd.array(case["centers"])}[how]
    preds = ("feature", "centers") if how == "output" else ("feature",)
    distance = np.array([[np.sqrt(((x - c) ** 2).sum()) for c in case["centers"]] for x in case["feature"]])
    between = [np.sqrt(((case["centers"][j] - case["centers"][k]) ** 2).sum()) for j in range(5) for k in range(j)]
    expected = [np.mean(distance.argmin(axis=1) == case["label"]), np.mean(distance[np.arange(7), case["label"]]),
                np.mean(between)]
    measures = [kind(output_names=list(preds), centers=given)
                for kind in (CenterAccuracy, CenterDistance, CenterSpread)]
    assert [update(measure, case, *preds) for measure in measures] == pytest.approx(expected, rel=1e-5)


def test_feature_norm(case):
    expected = np.mean([np.sqrt((x ** 2).sum()) for x in case["feature"]])
    assert update(FeatureNorm(), case, "feature") == pytest.approx(expected, rel=1e-5)


UNFIT = [
    (CenterDistance(centers=[[0, 0], [1, 1]]), (2, 3), [0, 1], r"`centers` must be of shape \(2, 3\), got \(2, 2\)"),
    (CenterDistance(centers=[[0, 0], [1, 1]]), (2, 2), [0, 2], r"`label` must be a whole number in \[0, 1\], got 2.0"),
    (CenterDistance(centers=[[0, 0], [1, 1]]), (2, 2), [0], r"`label` must be of shape \(2,\), got \(1,\)"),
    (CenterDistance(centers=[[0, 0], [1, 1]]), (2, 2, 2), [0, 1], r"`output` must be \(batch, feature_size\), 2 axes"),
    (ClassAccuracy(num_class=4), (2, 3), [0, 1], r"`output` must be of shape \(2, 4\), got \(2, 3\)"),
]


@pytest.mark.parametrize(("measure", "shape", "label", "text"), UNFIT)
def test_shapes_and_labels_that_do_not_fit_are_refused(measure, shape, label, text):
    with pytest.raises(ValueError, match=measure.name + ": " + text):
        measure.update(mx.nd.array(label), mx.nd.ones(shape))


def test_measures_are_read_along_with_the_losses(rng):
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    feature = mx.sym.FullyConnected(data, num_hidden=2, name="embedding")
    scores = mx.sym.FullyConnected(feature, num_hidden=4, name="scores")
    net = mx.sym.Group([mx.sym.SoftmaxOutput(scores, label, use_ignore=True, ignore_label=3, name="softmax"),
                        mx.sym.BlockGrad(feature, name="feature")])
    centers = rng.randn(4, 2)
    metric = from_symbol(net, extra=[TopK(k=2), "mxloss.TopK", FeatureNorm(output_names=["feature_output"]),
                                     CenterDistance(output_names=["feature_output"], centers=centers)])
    module = mx.mod.Module(net, context=[mx.cpu(0), mx.cpu(1)])
    module.bind([("data", (6, 3))], [("softmax_label", (6,))])
    module.init_params(mx.init.Normal(1.0))
    batch = mx.io.DataBatch([mx.nd.array(rng.randn(6, 3))], [mx.nd.array([0, 1, 2, 3, 3, 1])])
    module.forward(batch, is_train=True)
    module.update_metric(metric, batch.label)
    probability, features = (output.asnumpy() for output in module.get_outputs())
    kept = [row for row in range(6) if row not in (3, 4)]
    label = batch.label[0].asnumpy().astype(int)
    values = dict(metric.get_name_value())
    assert list(values) == ["accuracy", "softmax_loss", "top_2_accuracy", "top_5_accuracy", "feature_norm",
                            "own_center_distance"]
    assert values["top_2_accuracy"] == np.mean([label[row] in np.argsort(-probability[row])[:2] for row in kept])
    assert values["top_5_accuracy"] == 1.0
    assert values["feature_norm"] == pytest.approx(np.mean(np.sqrt((features ** 2).sum(axis=1))), rel=1e-5)
    assert values["own_center_distance"] == pytest.approx(
        np.mean(np.sqrt(((features - centers[label]) ** 2).sum(axis=1))), rel=1e-5)
    with pytest.raises(ValueError, match="feature_norm: `output_names` must be given where there are several outputs"):
        from_symbol(net, extra=[FeatureNorm()])
