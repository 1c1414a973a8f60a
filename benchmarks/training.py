"""The example's training step: what center loss costs, and what it costs to watch everything.

    MXLOSS_MNIST_DIR=../shared/mnist python benchmarks/training.py

Nine contenders take turns within one process, each round an epoch of each, ended by `waitall`. In Module, and in Gluon
imperative and hybridized:

- bare: softmax alone, and nobody reads a loss (`Module.fit` with a metric that does nothing, a plain loop).
- center loss: the same with a `CenterLoss`.
- watched: center loss by `mxloss.fit` or `Estimator.fit`, with the metrics of all losses, a progress bar, the record
  and TensorBoard, with distributions of all weights (and in Gluon gradients) every 200 steps, as in the example.

The table gives samples per second, and the median of the time relative to the bare contender of the same way.
"""
import argparse
import io
import itertools
import logging
import os
import statistics
import sys
import tempfile
import warnings

import mxnet as mx
from mxnet import autograd, gluon

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from turns import digits, in_turns, ratio  # noqa: E402

import mxloss  # noqa: E402
from examples.mnist_center_loss import network  # noqa: E402
from examples.mnist_center_loss.gluon_training import Digits  # noqa: E402
from examples.mnist_center_loss.settings import HISTOGRAMS  # noqa: E402

OPTIMIZER = {"base": "sgd", "learning_rate": 0.01, "momentum": 0.9, "clip_gradient": 0.1}


class Nothing(mx.metric.EvalMetric):
    """A metric that looks at nothing."""

    def __init__(self):
        super().__init__("nothing")

    def update(self, labels, preds):
        """Nothing."""


def center_loss():
    return mxloss.CenterLoss(network.NUM_CLASS, 2, weight=0.2, prefix="center_loss_")


def watchers(api, folder):
    """Everything that watches a training."""
    return [api.ProgressBar(stream=io.StringIO(), every=1), api.MetricsFile(os.path.join(folder, "metrics.jsonl")),
            api.TensorBoard(os.path.join(folder, "board"), histograms=HISTOGRAMS)]


def module_contender(data, *, center, folder=None):
    """An epoch of a Module; watched if there is a folder."""
    net = network.softmax_and_block("lenet", center_loss()) if center else network.softmax_alone("lenet")
    labels = network.CENTER_LABELS if center else network.SOFTMAX_LABELS
    stream = mxloss.io.ArrayIter(*data, label_name=labels)
    module, epochs = mx.mod.Module(net, label_names=labels), itertools.count()
    options = {"optimizer": "withcenters", "optimizer_params": OPTIMIZER, "initializer": mx.init.Xavier()}
    if folder is None:
        def run():
            module.fit(stream, eval_metric=Nothing(), begin_epoch=0, num_epoch=1, **options)
    else:
        metric, watch = mxloss.metric.from_symbol(net), watchers(mxloss.callback, folder)

        def run():
            epoch = next(epochs)
            mxloss.fit(module, stream, eval_metric=metric, begin_epoch=epoch, num_epoch=epoch + 1, watch=watch,
                       **options)
    return run


def gluon_contender(data, *, center, hybridize, folder=None):
    """An epoch of a Gluon network; watched if there is a folder."""
    stream = mxloss.io.ArrayIter(*data)
    net, losses = Digits("lenet"), {"softmax_loss": gluon.loss.SoftmaxCrossEntropyLoss()}
    if center:
        losses["center_loss"] = center_loss()
    group = mxloss.LossGroup(losses, outputs={"center_loss": 1} if center else None)
    for block in (net, group):
        block.initialize(mx.init.Xavier())
        block.hybridize(hybridize)
    net(mx.nd.zeros((1, 1, 28, 28)))
    trainer = gluon.Trainer({**net.collect_params(), **group.collect_params()}, "withcenters", OPTIMIZER)
    if folder is not None:
        accuracy = mxloss.metric.Accuracy(output_names=[0], label_names=[0])
        estimator = mxloss.estimator.Estimator(net, group, [accuracy], trainer=trainer)
        estimator.logger.setLevel("WARNING")
        watch = watchers(mxloss.estimator, folder)
        return lambda: estimator.fit(stream, epochs=1, event_handlers=watch)

    def run():
        for batch in stream:
            with autograd.record():
                scores, embedding = net(batch.data[0])
                loss = losses["softmax_loss"](scores, batch.label[0])
                if center:
                    loss = loss + losses["center_loss"](embedding, batch.label[0])
            loss.backward()
            trainer.step(len(loss))
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # `Module.fit` says each epoch that it is bound already
    warnings.filterwarnings("ignore", "Parameters already initialized")
    data = (*digits(arguments.batches * arguments.batch_size), arguments.batch_size)
    ways = {"Module": module_contender,
            "Gluon, imperative": lambda *given, **options: gluon_contender(*given, hybridize=False, **options),
            "Gluon, hybridized": lambda *given, **options: gluon_contender(*given, hybridize=True, **options)}
    with tempfile.TemporaryDirectory() as folder:
        contenders = {}
        for way, make in ways.items():
            contenders[way, "bare"] = make(data, center=False)
            contenders[way, "center loss"] = make(data, center=True)
            contenders[way, "watched"] = make(data, center=True, folder=os.path.join(folder, way))
        seconds = in_turns(contenders, arguments.rounds)
    samples = arguments.batches * arguments.batch_size
    print("| | samples/s | time, bare = 1 | middle half |\n| --- | ---: | ---: | --- |")
    for (way, name), times in seconds.items():
        print("| {}, {} | {:.0f} | {:.3f} | {} |".format(
            way, name, samples / statistics.median(times), *ratio(times, seconds[way, "bare"])))
    print("| hybridized, by imperative | | {:.3f} | {} |".format(*ratio(
        seconds["Gluon, hybridized", "bare"], seconds["Gluon, imperative", "bare"])))


if __name__ == "__main__":
    main()
