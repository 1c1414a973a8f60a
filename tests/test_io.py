"""Iterators: short last batches, several names for one label column, orders that can be replayed."""
import mxnet as mx
import numpy as np
import pytest

from mxloss.io import ArrayIter, ItemWeightIter, SharedLabelIter


def drain(batches):
    """Data and first label of one epoch, batch by batch, as NumPy."""
    return [(batch.data[0].asnumpy(), batch.label[0].asnumpy()) for batch in batches]


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_comes_once_an_epoch_with_its_label(shuffle):
    data, label = np.arange(14).reshape(7, 2), np.arange(7)
    batches = ArrayIter(data, label, 3, shuffle=shuffle)
    for _ in range(3):
        epoch = drain(batches)
        assert [len(rows) for rows, _ in epoch] == [3, 3, 1]
        seen = np.concatenate([labels for _, labels in epoch])
        assert sorted(seen) == list(label)
        np.testing.assert_array_equal(np.concatenate([rows for rows, _ in epoch]), data[seen.astype(int)])
        batches.reset()


def test_no_batch_is_padded():
    assert [batch.pad for batch in ArrayIter(np.zeros((5, 1)), np.zeros(5), 2)] == [0, 0, 0]


def test_orders_differ_between_epochs_and_repeat_with_the_seed():
    def epochs(seed):
        batches = ArrayIter(np.zeros((50, 1)), np.arange(50), 50, shuffle=True, seed=seed)
        orders = []
        for _ in range(2):
            orders.append(tuple(drain(batches)[0][1]))
            batches.reset()
        return orders
    assert epochs(3) == epochs(3)
    assert len(set(epochs(3) + epochs(4))) == 4


def test_a_second_for_takes_the_next_epoch_without_a_reset():
    batches = ArrayIter(np.zeros((50, 1)), np.arange(50), 20, shuffle=True)
    first, second = drain(batches), drain(batches)
    assert batches.epoch == 1
    assert len(first) == len(second) == 3
    assert list(first[0][1]) != list(second[0][1])


def test_a_for_that_was_left_early_goes_on_where_it_was():
    batches = ArrayIter(np.zeros((5, 1)), np.arange(5), 2)
    for _ in batches:
        break
    assert [list(labels) for _, labels in drain(batches)] == [[2, 3], [4]]


def test_reset_before_the_first_batch_changes_nothing():
    batches = ArrayIter(np.zeros((9, 1)), np.arange(9), 9, shuffle=True)
    batches.reset()
    batches.reset()
    assert batches.epoch == 0


def test_the_order_of_the_arrays_given_stays_as_it_was():
    data = mx.nd.arange(20)
    batches = ArrayIter(data, data, 5, shuffle=True)
    drain(batches)
    np.testing.assert_array_equal(data.asnumpy(), np.arange(20))


@pytest.mark.parametrize(("samples", "min_batch", "sizes"), [
    (9, 2, [4, 5]), (10, 2, [4, 4, 2]), (11, 4, [4, 7]), (8, 4, [4, 4]), (3, 2, [3])])
def test_a_remainder_too_small_for_the_devices_joins_the_batch_before(samples, min_batch, sizes):
    batches = ArrayIter(np.zeros((samples, 1)), np.zeros(samples), 4, min_batch=min_batch)
    assert [len(rows) for rows, _ in drain(batches)] == sizes


def test_one_label_column_has_several_names():
    batches = ArrayIter(np.zeros((3, 1)), np.arange(3), 2, label_name=("softmax_label", "center_label"))
    assert [(d.name, d.shape) for d in batches.provide_label] == [("softmax_label", (2,)), ("center_label", (2,))]
    for batch in batches:
        np.testing.assert_array_equal(batch.label[0].asnumpy(), batch.label[1].asnumpy())


def test_dicts_name_several_inputs():
    batches = ArrayIter({"left": np.zeros((4, 2)), "right": np.ones((4, 3))}, {"same": np.zeros(4)}, 2)
    assert [(d.name, d.shape) for d in batches.provide_data] == [("left", (2, 2)), ("right", (2, 3))]
    assert [d.name for d in batches.provide_label] == ["same"]


def test_numpy_becomes_float32_and_an_ndarray_keeps_its_type():
    batches = ArrayIter(mx.nd.zeros((2, 1), dtype="float64"), np.zeros(2, dtype="int64"))
    assert batches.provide_data[0].dtype == np.float64
    assert batches.provide_label[0].dtype == np.float32


def test_batches_larger_than_the_data_are_one_batch_of_all_of_it():
    batches = ArrayIter(np.zeros((3, 1)), np.zeros(3), 64)
    assert batches.provide_data[0].shape == (3, 1)
    assert [len(rows) for rows, _ in drain(batches)] == [3]


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"label": np.zeros(4)}, ValueError, r"ArrayIter: `softmax_label` must be of shape \(3,\), got \(4,\)"),
    ({"label": np.array([0, 1, 3]), "num_class": 3}, ValueError,
     r"ArrayIter: `label` must be a whole number in \[0, 2\], got 3.0 in row 2"),
    ({"label": np.array([0, np.nan, 1]), "num_class": 3}, ValueError, "got nan in row 1"),
    ({"label": np.array([0, 0.5, 1]), "num_class": 3}, ValueError, "got 0.5 in row 1"),
    ({"batch_size": 0}, ValueError, r"ArrayIter: `batch_size` must be a whole number >= 1, got 0"),
    ({"batch_size": 2.0}, TypeError, r"ArrayIter: `batch_size` must be a whole number, got 2.0"),
    ({"seed": -1}, ValueError, r"ArrayIter: `seed` must be"),
    ({"shuffle": 1}, TypeError, r"ArrayIter: `shuffle` must be True or False, got 1"),
    ({"min_batch": 4}, ValueError, r"ArrayIter: `data` must be at least 4 samples, got 3"),
    ({"label": np.zeros(3), "label_name": ("a", "a")}, ValueError, r"ArrayIter: `label_name` must be"),
    ({"data": np.array(["a", "b"])}, TypeError, r"ArrayIter: `data` must be an array of numbers"),
    ({"data": np.zeros((0, 2))}, ValueError, r"ArrayIter: `data` must be at least 1 samples, got 0"),
    ({"data": {}}, ValueError, r"ArrayIter: `data` must be at least one array"),
])
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        ArrayIter(**{"data": np.zeros((3, 1)), **arguments})


def test_ignored_labels_are_allowed():
    ArrayIter(np.zeros((2, 1)), np.array([255, 0]), num_class=3, ignore_label=255)


def test_another_iterators_padding_is_cut_off_and_its_label_shared():
    base = mx.io.NDArrayIter(np.arange(5).reshape(5, 1), np.arange(5), 2, last_batch_handle="pad")
    batches = SharedLabelIter(base, ("a", "b"))
    assert [d.name for d in batches.provide_label] == ["a", "b"]
    for _ in range(2):
        epoch = drain(batches)
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in epoch]), np.arange(5))
        np.testing.assert_array_equal(np.concatenate([rows for rows, _ in epoch])[:, 0], np.arange(5))
        batches.reset()


def test_a_shared_label_that_is_no_class_is_named():
    base = mx.io.NDArrayIter(np.zeros((4, 1)), np.array([0, 1, 2, 7]), 2)
    with pytest.raises(ValueError, match=r"SharedLabelIter: `label` must be .* \[0, 2\], got 7.0 in row 1"):
        drain(SharedLabelIter(base, "softmax_label", num_class=3))


def test_an_iterator_with_two_labels_cannot_share_one():
    base = mx.io.NDArrayIter(np.zeros((4, 1)), {"a": np.zeros(4), "b": np.zeros(4)}, 2)
    with pytest.raises(ValueError, match=r"`base` must be an iterator with one label, got \['a', 'b'\]"):
        SharedLabelIter(base, "softmax_label")


@pytest.mark.parametrize("devices", [2, 3, 4, 5, 8])
def test_the_least_batch_of_the_docstring_can_be_shared_out(devices):
    least = devices * (devices - 1) // 2 + 1
    for samples in range(least, least + 40):
        assert len(mx.executor_manager._split_input_slice(samples, [1] * devices)) == devices


def rest(batches):
    """What an iterator still gives, as lists of data and label."""
    return [(batch.data[0].asnumpy().tolist(), batch.label[0].asnumpy().tolist()) for batch in batches]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_seek_goes_where_an_iterator_that_was_run_through_comes_to(shuffle, share):
    def make():
        batches = ArrayIter(np.arange(14).reshape(7, 2), np.arange(7), 2, shuffle=shuffle, seed=3)
        return SharedLabelIter(batches, ("a", "b")) if share else batches

    run_through, sought = make(), make()
    for _ in range(2):
        rest(run_through)
        run_through.reset()
    run_through.next()
    sought.next()
    sought.seek(2, 1)
    assert sought.num_batch == 4
    expected = rest(run_through)
    assert len(expected) == 3
    assert rest(sought) == expected
    run_through.reset()
    sought.reset()
    assert rest(sought) == rest(run_through)


def test_seek_beyond_the_epoch_is_refused_and_changes_nothing():
    batches = ArrayIter(np.zeros((7, 2)), np.arange(7), 2)
    batches.next()
    for place, text in (((0, 5), "ArrayIter: `batch` must be in [0, 4], got 5"),
                        ((-1, 0), "ArrayIter: `epoch` must be a whole number >= 0, got -1")):
        with pytest.raises(ValueError) as error:
            batches.seek(*place)
        assert str(error.value) == text
    assert len(rest(batches)) == 3


def test_a_shared_label_can_only_be_sought_where_its_base_can():
    shared = SharedLabelIter(mx.io.NDArrayIter(np.zeros((4, 2)), np.arange(4), 2), "a")
    assert not hasattr(shared, "seek")
    assert shared.num_batch is None


# --- ItemWeightIter ---------------------------------------------------------------------------------------------------

def weighted(label, batch_size=4, **arguments):
    base = mx.io.NDArrayIter(np.zeros((len(label), 2)), np.array(label), batch_size, label_name="label")
    return ItemWeightIter(base, **dict({"label_name": "label", "name": "label_weight",
                                                  "weight": lambda label: label != -1}, **arguments))


def test_a_mean_over_the_batch_with_the_weights_is_the_mean_over_the_items():
    label, loss = [3, -1, 0, 2, -1, -1, -1, 1], np.array([1., 9, 2, 3, 9, 9, 9, 5])
    means = [(batch.label[1].asnumpy() * loss[4 * i:4 * i + 4]).mean() for i, batch in enumerate(weighted(label))]
    np.testing.assert_allclose(means, [2, 5], rtol=1e-6)


def test_what_is_counted_may_be_less_than_what_is_weighted():
    batch = next(weighted([3, -1, 0, 2], per=lambda label: label > 0))
    np.testing.assert_allclose(batch.label[1].asnumpy(), [2, 0, 2, 2])


def test_a_batch_without_an_item_has_weight_zero():
    assert not next(weighted([-1, -1, -1, -1])).label[1].asnumpy().any()


def test_weights_of_two_labels_come_from_two_iterators_around_each_other():
    once = weighted([3, -1, 0, 2])
    twice = ItemWeightIter(once, "label", "object_weight", lambda label: label > 0)
    assert [description.name for description in twice.provide_label] == ["label", "label_weight", "object_weight"]
    for _ in range(2):
        assert len(list(twice)) == 1
        twice.reset()


@pytest.mark.parametrize(("arguments", "words"), [
    ({"label_name": "digit"}, "ItemWeightIter: `label_name` must be among 'label', got 'digit'"),
    ({"name": "label"}, r"ItemWeightIter: `name` must be one name or several different ones, got \['label', 'label'\]"),
])
def test_names_that_do_not_fit_are_refused_in_words(arguments, words):
    with pytest.raises(ValueError, match=words):
        weighted([0, 1, 2, 3], **arguments)


def test_weights_of_another_shape_are_refused_in_words():
    with pytest.raises(ValueError, match=r"ItemWeightIter: `weight` must be of shape \(4,\), got \(2,\)"):
        next(weighted([0, 1, 2, 3], weight=lambda label: label[:2]))
