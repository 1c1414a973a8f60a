"""Callbacks for `Module.fit`."""
from .operator import explained


class WaitForOutputs:
    """Waits for every output of the last batch of an epoch: a `batch_end_callback`.

    An operator that keeps a state, as `centerloss` keeps its centers, writes it when MXNet comes to run it.
    `Module.fit` reads all states at the end of an epoch without waiting for that, and writes back what it read. Whoever
    has read the operator's own output of the last batch, on every device, has waited long enough: the metrics of
    mxloss do so, and beside a metric that does not, as `mx.metric.Accuracy`, this callback does.

    Raises:
        ValueError: what an operator of this package found wrong in a batch of the epoch.

    Examples:
        >>> feature, label = mx.sym.var('data'), mx.sym.var('softmax_label')
        >>> center = mx.sym.Custom(feature, label, op_type='centerloss', num_class=2, alpha=1, name='center')
        >>> module = mx.mod.Module(mx.sym.Group([mx.sym.SoftmaxOutput(feature, label, name='softmax'),
        ...                                      mx.sym.MakeLoss(center)]))
        >>> train = mx.io.NDArrayIter(np.array([[2., 0.], [0., 4.]]), np.array([0, 1]), 2)
        >>> accuracy = mx.metric.Accuracy(output_names=['softmax_output'], label_names=['softmax_label'])
        >>> module.fit(train, eval_metric=accuracy, num_epoch=1, batch_end_callback=WaitForOutputs())
        >>> module.get_params()[1]['center_center_bias'].asnumpy()
        array([[1., 0.],
               [0., 2.]], dtype=float32)
    """

    def __call__(self, param):
        """Called by `Module.fit` with its `BatchEndParam`."""
        if param.locals.get("end_of_batch", True):  # fit's name for: this was the last batch of the epoch
            with explained():
                for outputs in param.locals["self"].get_outputs(merge_multi_context=False):
                    for output in outputs:
                        output.wait_to_read()
