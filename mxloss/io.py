"""Iterators whose last batch is short instead of padded, and whose one label column may have several names.

Usage::

    train = mxloss.io.ArrayIter(images, digits, 128, shuffle=True, label_name=('softmax_label', 'center_label'))
    module = mx.mod.Module(net, label_names=('softmax_label', 'center_label'))
    module.fit(train, ...)

`Module` trains on padded samples, counts them in its metrics and tells neither; a short batch it takes as it is.
"""
import mxnet as mx
import numpy as np

from . import _check
from .functional import item_weight


class ArrayIter(mx.io.DataIter):
    """Cuts arrays into batches: every sample once an epoch, in an order that depends on the seed and the epoch alone.

    NumPy arrays become float32, as everywhere in `mx.io`; NDArrays keep their dtype.

    Args:
        data: samples along the first axis, or a dict of such arrays by name.
        label: one label per sample along the first axis, or a dict of such arrays by name, or None.
        batch_size: samples a batch; the last one of an epoch may have fewer.
        shuffle: draw a new order for each epoch.
        seed: whole number; the order of an epoch is drawn from (seed, epoch).
        data_name: what the network calls `data`.
        label_name: what the network calls `label`, or a tuple of names for the one column.
        num_class: if given, each label has to be a whole number in [0, num_class - 1].
        ignore_label: one more label that is allowed beside the classes.
        min_batch: a remainder smaller than this joins the batch before it. `Module` needs a sample for each device,
            and by its rounding can always share out n (n - 1) / 2 + 1 samples to n devices, not always fewer.

    Attributes:
        epoch: how often the data has been gone through, from 0.
        num_batch: batches of an epoch.

    Raises:
        ValueError: arrays of different lengths, no sample at all, a label that is no class.

    Examples:
        >>> batches = ArrayIter(np.zeros((5, 2)), np.arange(5), 2, label_name=('softmax_label', 'center_label'))
        >>> [description.name for description in batches.provide_label]
        ['softmax_label', 'center_label']
        >>> [batch.data[0].shape for batch in batches]
        [(2, 2), (2, 2), (1, 2)]
    """

    def __init__(self, data, label=None, batch_size=1, *, shuffle=False, seed=0, data_name="data",
                 label_name="softmax_label", num_class=None, ignore_label=None, min_batch=1):
        super().__init__(_check.integer("ArrayIter", "batch_size", batch_size, low=1))
        self.shuffle = _check.flag("ArrayIter", "shuffle", shuffle)
        self.seed = _check.integer("ArrayIter", "seed", seed, low=0)
        min_batch = _check.integer("ArrayIter", "min_batch", min_batch, low=1)
        self._data = _columns("data", data, data_name)
        self._label = _columns("label", label, label_name)
        if not self._data:
            _check.fail("ArrayIter", "data", "at least one array", data)
        self.num_sample = len(next(iter(self._data.values())))
        for name, column in {**self._data, **self._label}.items():
            _check.shape("ArrayIter", name, column.shape, (self.num_sample,) + column.shape[1:])
        if self.num_sample < min_batch:
            _check.fail("ArrayIter", "data", "at least {} samples".format(min_batch), self.num_sample)
        _check_classes("ArrayIter", self._label.values(), num_class, ignore_label)

        self._bounds = list(range(0, self.num_sample, batch_size)) + [self.num_sample]
        if len(self._bounds) > 2 and self._bounds[-1] - self._bounds[-2] < min_batch:
            del self._bounds[-2]
        self.num_batch = len(self._bounds) - 1
        self.provide_data = self._describe(self._data)
        self.provide_label = self._describe(self._label)
        self.epoch = 0
        self._start_epoch()

    def _describe(self, columns):
        size = min(self.batch_size, self.num_sample)
        return [mx.io.DataDesc(name, (size,) + column.shape[1:], column.dtype) for name, column in columns.items()]

    def _start_epoch(self):
        self._batch = 0
        if self.shuffle:
            self._order = np.random.RandomState([self.seed, self.epoch]).permutation(self.num_sample)

    def reset(self):
        """Start the next epoch; without effect where no batch of this one was taken."""
        if self._batch:
            self.epoch += 1
            self._start_epoch()

    def __iter__(self):
        """Itself, at the start of the next epoch where this one is over: a second ``for`` needs no `reset`."""
        if self._batch == len(self._bounds) - 1:
            self.reset()
        return self

    def seek(self, epoch, batch=0):
        """Go to a batch of an epoch, both from 0: what comes next is what comes there, however it was come to."""
        epoch = _check.integer("ArrayIter", "epoch", epoch, low=0)
        batch = _check.integer("ArrayIter", "batch", batch, low=0)
        if batch > self.num_batch:
            _check.fail("ArrayIter", "batch", "in [0, {}]".format(self.num_batch), batch)
        self.epoch = epoch
        self._start_epoch()
        self._batch = batch

    def next(self):
        """The next batch, a `DataBatch` without padding."""
        if self._batch == self.num_batch:
            raise StopIteration
        begin, end = self._bounds[self._batch:self._batch + 2]
        self._batch += 1
        if self.shuffle:
            rows = mx.nd.array(self._order[begin:end], dtype="int64")
            cut = _once(lambda column: column.take(rows))
        else:
            cut = _once(lambda column: column[begin:end])
        return mx.io.DataBatch([cut(column) for column in self._data.values()],
                               [cut(column) for column in self._label.values()], pad=0)


class SharedLabelIter(mx.io.DataIter):
    """Gives the one label of another iterator several names, and its last batch without the padding.

    Args:
        base: an iterator with one label.
        label_names: what the network calls that label, one name or several.
        num_class: if given, each label has to be a whole number in [0, num_class - 1].
        ignore_label: one more label that is allowed beside the classes.

    Raises:
        ValueError: `base` has not exactly one label; while iterating, a label that is no class.

    Examples:
        >>> base = mx.io.NDArrayIter(np.zeros((5, 2)), np.arange(5), 2)
        >>> batches = SharedLabelIter(base, ('softmax_label', 'center_label'))
        >>> [[label.shape for label in batch.label] for batch in batches]
        [[(2,), (2,)], [(2,), (2,)], [(1,), (1,)]]
    """

    def __init__(self, base, label_names, *, num_class=None, ignore_label=None):
        super().__init__(base.batch_size)
        if len(base.provide_label) != 1:
            _check.fail("SharedLabelIter", "base", "an iterator with one label",
                        [description[0] for description in base.provide_label])
        self.base = base
        self._names = _unique("SharedLabelIter", "label_names", label_names)
        self._num_class, self._ignore_label = num_class, ignore_label

    @property
    def provide_data(self):
        """What the other iterator provides."""
        return self.base.provide_data

    @property
    def provide_label(self):
        """The other iterator's label under each of the names."""
        label = self.base.provide_label[0]
        return [mx.io.DataDesc(name, label.shape, label.dtype, label.layout) for name in self._names]

    @property
    def num_batch(self):
        """Batches of an epoch, None if the other iterator does not say."""
        return getattr(self.base, "num_batch", None)

    def reset(self):
        """Start the other iterator again."""
        self.base.reset()

    @property
    def seek(self):
        """What takes the other iterator to a batch of an epoch, where it has that."""
        return self.base.seek

    def next(self):
        """The next batch, a `DataBatch` without padding."""
        batch = self.base.next()
        data, label = batch.data, batch.label[0]
        if batch.pad:
            data = [column[:len(column) - batch.pad] for column in data]
            label = label[:len(label) - batch.pad]
        _check_classes("SharedLabelIter", [label], self._num_class, self._ignore_label)
        index = batch.index if batch.index is None else batch.index[:len(label)]
        return mx.io.DataBatch(data, [label] * len(self._names), pad=0, index=index)


class ItemWeightIter(mx.io.DataIter):
    """Adds to each batch the weights that make a mean over the batch a mean over its items.

    They are taken over the whole batch, before `Module` cuts it for its devices; see `mxloss.functional.item_weight`.
    On several machines each one divides by its own items.

    Args:
        base: an iterator with labels.
        label_name: which of its labels tells what the items are.
        name: what the network calls the weights; they have the shape of that label and the type float32.
        weight: function of that label, a NumPy array, that returns the weight of each item, 0 for what is none.
        per: function of that label whose non-zero entries are counted instead; None for those of `weight`.

    Raises:
        ValueError: `base` has no such label, or has one called `name` already.

    Examples:
        >>> base = mx.io.NDArrayIter(np.zeros((4, 2)), np.array([3, -1, 0, 2]), 4, label_name='label')
        >>> batches = ItemWeightIter(base, 'label', 'label_weight', lambda label: label != -1)
        >>> next(batches).label[1].asnumpy()
        array([1.3333334, 0. , 1.3333334, 1.3333334], dtype=float32)
    """

    def __init__(self, base, label_name, name, weight, per=None):
        super().__init__(base.batch_size)
        known = [description[0] for description in base.provide_label]
        self.base, self._weight, self._per = base, weight, per
        self._index = known.index(_check.names("ItemWeightIter", "label_name", label_name, known)[0])
        self._name = _unique("ItemWeightIter", "name", known + [name])[-1]

    @property
    def provide_data(self):
        """What the other iterator provides."""
        return self.base.provide_data

    @property
    def provide_label(self):
        """The other iterator's labels and the weights."""
        label = self.base.provide_label[self._index]
        return list(self.base.provide_label) + [mx.io.DataDesc(self._name, label.shape, np.float32, label.layout)]

    @property
    def num_batch(self):
        """Batches of an epoch, None if the other iterator does not say."""
        return getattr(self.base, "num_batch", None)

    def reset(self):
        """Start the other iterator again."""
        self.base.reset()

    @property
    def seek(self):
        """What takes the other iterator to a batch of an epoch, where it has that."""
        return self.base.seek

    def next(self):
        """The next batch with one label more, a `DataBatch`."""
        batch = self.base.next()
        label = batch.label[self._index].asnumpy()
        weight = item_weight(np.asarray(self._weight(label)), self._per and self._per(label))
        _check.shape("ItemWeightIter", "weight", weight.shape, label.shape)
        return mx.io.DataBatch(batch.data, batch.label + [mx.nd.array(weight)], pad=batch.pad, index=batch.index)


def _columns(what, arrays, name):
    """`arrays` as a dict of NDArrays by name."""
    if arrays is None:
        return {}
    if isinstance(arrays, dict):
        return {key: _column(key, array) for key, array in arrays.items()}
    column = _column(what, arrays)
    return dict.fromkeys(_unique("ArrayIter", what + "_name", name), column)


def _column(name, array):
    if not isinstance(array, mx.nd.NDArray):
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            _check.fail("ArrayIter", name, "an array of numbers", array, TypeError)
        if array.ndim == 0:
            _check.fail("ArrayIter", name, "an array of samples", array)
        array = mx.nd.array(array)
    return array


def _unique(who, argument, names):
    names = [names] if isinstance(names, str) else list(names)
    if not names or len(set(names)) < len(names):
        _check.fail(who, argument, "one name or several different ones", names)
    return names


def _check_classes(who, labels, num_class, ignore_label):
    if num_class is None:
        return
    num_class = _check.integer(who, "num_class", num_class, low=1)
    for label in {id(label): label for label in labels}.values():
        _check.classes(who, label.asnumpy(), num_class, ignore_label)


def _once(cut):
    """`cut`, done once for a column that stands under several names."""
    done = {}

    def cut_once(column):
        if id(column) not in done:
            done[id(column)] = cut(column)
        return done[id(column)]
    return cut_once
