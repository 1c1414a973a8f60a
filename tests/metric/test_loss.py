"""Reductions, windows, devices, merging: what is reported does not depend on how the data came."""
import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxloss.metric import Accuracy, ClassAccuracy, Group, Loss

ITEMS = [4, 5, 2, 4, 3, 2, 3, 1]


def parts_of(items, devices):
    """A batch's slices on its devices, by name."""
    return [{"loss": mx.nd.array(part, ctx=mx.cpu(i))} for i, part in enumerate(np.array_split(items, devices))]


def feed(metric, items, batch, devices=1):
    for start in range(0, len(items), batch):
        for preds in parts_of(items[start:start + batch], devices):
            metric.update_dict({}, preds)
    return metric


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("report", "batch", "expected"), [
    ("item", 2, 3.0), ("item", 4, 3.0), ("batch", 2, 3.0), ("batch", 4, 3.0), ("sum", 2, 12.0), ("sum", 4, 6.0),
    ("scaled_sum", 2, 24.0), ("scaled_sum", 4, 24.0)])
def test_a_batch_ends_when_a_device_comes_round_again(report, batch, expected, devices):
    loss = feed(Loss(report=report), ITEMS, batch, devices)
    assert loss.get() == loss.get_global() == ("loss", expected)


@pytest.mark.parametrize(("report", "expected"), [  # means of the batches: 11/3, 3, 2
    ("item", 3.0), ("batch", 26 / 9), ("sum", 26 / 3), ("scaled_sum", 26.0)])
def test_with_a_smaller_last_batch_only_the_item_mean_is_that_of_all_items(report, expected):
    assert feed(Loss(report=report), ITEMS, 3).get()[1] == pytest.approx(expected)


@pytest.mark.parametrize(("report", "expected"), [("item", 3.0), ("batch", 3.0), ("sum", 6.0), ("scaled_sum", 24.0)])
def test_one_call_with_a_list_over_devices_is_one_batch(report, expected):
    loss = Loss(report=report)
    for items in (ITEMS[:4], ITEMS[4:]):
        loss.update([], [mx.nd.array(items[:1]), mx.nd.array(items[1:])])  # both on one device
    assert loss.get()[1] == expected


@pytest.mark.parametrize("report", ["item", "batch", "sum", "scaled_sum"])
def test_the_window_and_the_epoch_are_both_right(report):
    loss = feed(Loss(report=report), ITEMS[:4], 2)
    loss.reset_local()
    feed(loss, ITEMS[4:], 2)
    assert loss.get() == feed(Loss(report=report), ITEMS[4:], 2).get()
    assert loss.get_global() == feed(Loss(report=report), ITEMS, 2).get()


@pytest.mark.parametrize("report", ["item", "batch", "sum", "scaled_sum"])
def test_nothing_seen_and_nothing_but_ignored_items_give_nan(report):
    loss = Loss(report=report, head="SoftmaxOutput", use_ignore=True, ignore_label=0)
    assert np.isnan(loss.get()[1])
    loss.update(mx.nd.array([0, 0]), mx.nd.ones((2, 2)) / 2)
    assert np.isnan(loss.get()[1])
    loss.update(mx.nd.array([1, 0, 0]), mx.nd.ones((3, 2)) / 2)
    expected = 3 * np.log(2) if report == "scaled_sum" else np.log(2)
    assert loss.get()[1] == pytest.approx(expected)  # the batch without items has no mean


def classifiers():
    options = {"use_ignore": True, "ignore_label": 2}
    return Group([Loss("softmax", head="SoftmaxOutput", grad_scale=0.5, **options), Accuracy(**options),
                  ClassAccuracy(num_class=3, **options)])


def feed_split(metric, label, scores, order, cuts, devices):
    """Feed the items in `order`, cut into batches at `cuts`, each batch divided among its number of devices."""
    for rows, number in zip(np.split(order, cuts), devices):
        for device, part in enumerate(np.array_split(rows, min(number, len(rows))) if len(rows) else []):
            context = mx.cpu(device)
            metric.update_dict({"label": mx.nd.array(label[part])}, {"out": mx.nd.array(scores[part], ctx=context)})
    return metric


@st.composite
def splits(draw):
    number = draw(st.integers(1, 12))
    cuts = sorted(draw(st.lists(st.integers(0, number), max_size=4)))
    devices = draw(st.lists(st.integers(1, 3), min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    order = draw(st.permutations(range(number)))
    label = draw(st.lists(st.integers(0, 2), min_size=number, max_size=number))
    return np.array(label), np.random.RandomState(number).dirichlet([1, 2, 3], number), np.array(order), cuts, devices


def same(one, other):
    assert one.get()[0] == other.get()[0]
    np.testing.assert_allclose(one.get()[1], other.get()[1], rtol=1e-6)
    np.testing.assert_allclose(one.get_global()[1], other.get_global()[1], rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(splits())
def test_any_split_and_any_order_give_the_numbers_of_one_batch(split):
    label, scores, order, cuts, devices = split
    whole = feed_split(classifiers(), label, scores, np.arange(len(label)), [], [1])
    same(feed_split(classifiers(), label, scores, order, cuts, devices), whole)


@settings(deadline=None, max_examples=25)
@given(splits(), st.integers(0, 12))
def test_merged_states_are_those_of_one_metric_over_both(split, cut):
    label, scores, order, _, _ = split
    one, other = (feed_split(classifiers(), label, scores, rows, [], [2]) for rows in np.split(order, [cut]))
    one.merge(other)
    same(one, feed_split(classifiers(), label, scores, order, [], [1]))


@pytest.mark.parametrize("report", ["item", "batch", "sum", "scaled_sum"])
def test_merging_knows_the_batches_of_both(report):
    one, other = feed(Loss(report=report), ITEMS[:4], 2), feed(Loss(report=report), ITEMS[4:], 2)
    one.merge(other)
    assert one.get() == feed(Loss(report=report), ITEMS, 2).get()


def test_only_metrics_of_one_configuration_merge():
    with pytest.raises(ValueError, match="loss: `other` must be a metric of the same configuration"):
        Loss().merge(Loss(grad_scale=2.0))
    with pytest.raises(ValueError, match="group: `other` must be a group of the same configuration"):
        Group([Loss()]).merge(Loss())


def test_the_parts_of_a_group_of_losses_are_read_by_name():
    """As a Gluon loop has them: named losses, each a list over devices."""
    parts = {"center_loss": [mx.nd.array([1, 2]), mx.nd.array([6], ctx=mx.cpu(1))],
             "softmax_loss": [mx.nd.array([4, 4]), mx.nd.array([1], ctx=mx.cpu(1))]}
    metric = Group([Loss(name, output_names=[name]) for name in parts], total=list(parts))
    metric.update([], parts)
    assert metric.get() == (["center_loss", "softmax_loss", "total_loss"], [3.0, 3.0, 6.0])


def test_an_error_in_one_metric_of_a_group_leaves_all_as_they_were():
    metric = Group([Loss("first", ["first"]), Loss("second", ["second"], head="SVMOutput")])
    arrays = {"first": mx.nd.array([1, 2]), "second": mx.nd.ones((2, 3))}
    with pytest.raises(ValueError, match="second: `label` must be"):
        metric.update_dict({"label": mx.nd.array([0, 3])}, arrays)
    metric.update_dict({"label": mx.nd.array([0, 1])}, dict(arrays, first=mx.nd.array([5, 5])))
    assert metric.get()[1][0] == 5.0
