"""Data for an Estimator, which takes a `gluon.data.DataLoader` and nothing else."""
import mxnet as mx
from mxnet import gluon

from .. import _check


class DataIterLoader(gluon.data.DataLoader):
    """Give the batches of a `mx.io.DataIter` as pairs of data and label, without padding, one epoch after the other.

    Args:
        data_iter: the iterator, as `mxloss.io.ArrayIter` or `mx.io.NDArrayIter`.

    Examples:
        >>> batches = DataIterLoader(mx.io.NDArrayIter(np.zeros((5, 2)), np.arange(5), 2))
        >>> [(data.shape, label.shape) for data, label in batches]
        [((2, 2), (2,)), ((2, 2), (2,)), ((1, 2), (1,))]
    """

    def __init__(self, data_iter):
        if not isinstance(data_iter, mx.io.DataIter):
            _check.fail("DataIterLoader", "data_iter", "a mx.io.DataIter", data_iter, TypeError)
        self.data_iter = data_iter

    def __iter__(self):
        self.data_iter.reset()
        return self._rest()

    @property
    def can_seek(self):
        """Whether the iterator can be taken to any batch, as those of `mxloss.io` can."""
        return hasattr(self.data_iter, "seek")

    def seek(self, epoch, batch):
        """The batches of an epoch from one on."""
        self.data_iter.seek(epoch, batch)
        return self._rest()

    def _rest(self):
        for batch in self.data_iter:
            yield [_unpadded(batch.data, batch.pad), _unpadded(batch.label, batch.pad)]

    def __bool__(self):
        return True  # what is asked of `val_data`; an iterator cannot tell how many batches it has

    def __len__(self):
        if not hasattr(self.data_iter, "num_batch"):
            _check.fail("DataIterLoader", "data_iter", "one that knows its `num_batch`", self.data_iter, TypeError)
        return self.data_iter.num_batch

    def __del__(self):
        """There are no workers to end."""


def as_loader(who, argument, data):
    """`data` as a DataLoader, or None."""
    if isinstance(data, mx.io.DataIter):
        return DataIterLoader(data)
    if data is not None and not isinstance(data, gluon.data.DataLoader):
        _check.fail(who, argument, "a gluon.data.DataLoader or a mx.io.DataIter", data, TypeError)
    return data


def _unpadded(columns, pad):
    columns = [column[:len(column) - pad] for column in columns or []] if pad else list(columns or [])
    return columns[0] if len(columns) == 1 else columns
