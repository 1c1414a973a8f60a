"""Train one network with `mxloss.fit`, which is `Module.fit` that stops, resumes and is watched."""
import mxnet as mx

import mxloss

from .settings import batches


def train(name, net, label_names, data, settings, folder, store):
    """Train a network with `Module`; its initial weights and the order of its batches depend on the seed alone.

    Args:
        name: of the network.
        net: a Symbol with the output ``softmax_output``.
        label_names: its label variables, each of which gets the labels.
        data: a `DataSet`.
        settings: `Settings`.
        folder: of all that is written.
        store: kvstore, or what it is called.

    Returns:
        `mxloss.stop.Outcome`: where and why it ended. What was trained is in the last checkpoint.
    """
    train_data = batches(data.train_image, data.train_label, label_names, settings, shuffle=True)
    test_data = batches(data.test_image, data.test_label, label_names, settings)
    metric = mxloss.metric.from_symbol(net)
    losses = [loss for loss, _ in metric.get_name_value()]
    return mxloss.fit(
        mx.mod.Module(net, label_names=label_names, context=settings.contexts), train_data, test_data, metric,
        num_epoch=settings.epochs, initializer=mx.init.Xavier(), kvstore=store, optimizer="withcenters",
        optimizer_params=settings.optimizer_params(train_data.num_batch),
        batch_end_callback=lambda param: settings.interrupt(param.epoch, param.nbatch, train_data.num_batch),
        watch=settings.watchers(mxloss.callback, folder, name), **settings.fit_options(folder, name, losses))
