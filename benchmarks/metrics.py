"""What it costs to know the losses of a training step: MNIST network, softmax and center loss, Module.

    MXLOSS_MNIST_DIR=../shared/mnist python benchmarks/metrics.py

Contenders take turns within one process; each round of each is ended by `waitall`. The table gives the median over the
rounds of the time relative to "no metric" in the same round, and the peak memory of each contender in a process of its
own.
"""
import argparse
import functools
import resource
import statistics
import subprocess
import sys

import mxnet as mx
import numpy as np
from turns import digits, in_turns, ratio

import mxloss

LABELS = ["softmax_label", "center_label"]


def network():
    """Two convolutions, 500 units, a two-dimensional embedding with center loss, ten classes."""
    layer = mx.sym.var("data")
    for number, filters in enumerate((20, 50), 1):
        layer = mx.sym.Convolution(layer, kernel=(5, 5), num_filter=filters, name="conv{}".format(number))
        layer = mx.sym.Pooling(mx.sym.Activation(layer, act_type="tanh"), pool_type="max", kernel=(2, 2), stride=(2, 2))
    layer = mx.sym.FullyConnected(mx.sym.Flatten(layer), num_hidden=500, name="fc1")
    embedding = mx.sym.FullyConnected(mx.sym.Activation(layer, act_type="tanh"), num_hidden=2, name="embedding")
    scores = mx.sym.FullyConnected(embedding, num_hidden=10, name="scores")
    center = mx.sym.Custom(data=embedding, label=mx.sym.var("center_label"), name="center_loss_", op_type="centerloss",
                           num_class=10, alpha=0.5, scale=0.1, batchsize=64)
    return mx.sym.Group([mx.sym.SoftmaxOutput(scores, mx.sym.var("softmax_label"), name="softmax"),
                         mx.sym.MakeLoss(center, name="center_loss")])


class NoMetric:
    """Train and look at nothing."""

    def __init__(self, module):
        self.module = module

    def batch(self, batch):
        """After the step of each batch."""

    def read(self):
        """At the end of the epoch."""


class WaitEveryBatch(NoMetric):
    """Train in step with the engine; the measure for memory."""

    def batch(self, batch):
        mx.nd.waitall()


class FromSymbol(NoMetric):
    """All of from_symbol: accuracy, softmax_loss, center_loss, total_loss."""

    def __init__(self, module):
        super().__init__(module)
        self.metric = self.made()

    def made(self):
        return mxloss.metric.from_symbol(self.module.symbol)

    def batch(self, batch):
        self.module.update_metric(self.metric, batch.label)

    def read(self):
        self.metric.get_global_name_value()
        self.metric.reset()


class BuiltIn(FromSymbol):
    """The same values by MXNet's own metrics."""

    def made(self):
        softmax = {"output_names": ["softmax_output"], "label_names": ["softmax_label"]}
        return mx.metric.create([mx.metric.Accuracy(**softmax), mx.metric.CrossEntropy(**softmax),
                                 mx.metric.Loss(output_names=["center_loss_output"], label_names=["center_label"])])


class SecondPass(NoMetric):
    """Run the network again to read the losses, as beginners do."""

    def batch(self, batch):
        self.module.forward(batch, is_train=False)
        softmax, center = (output.asnumpy() for output in self.module.get_outputs())
        label = batch.label[0].asnumpy().astype(int)
        self.losses = -np.log(softmax[np.arange(len(label)), label]).mean(), center.mean()


CONTENDERS = {"no metric": NoMetric, "from_symbol": FromSymbol, "built-in metrics": BuiltIn, "second pass": SecondPass,
              "wait every batch": WaitEveryBatch}


def trained(images, labels, batch_size):
    """A module that is ready to train, and its iterator."""
    stream = mx.io.NDArrayIter(images, dict.fromkeys(LABELS, labels), batch_size=batch_size)
    module = mx.mod.Module(network(), label_names=LABELS)
    module.bind(stream.provide_data, stream.provide_label)
    module.init_params(mx.init.Xavier())
    module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.01, "momentum": 0.9})
    return module, stream


def one_round(module, stream, contender):
    """One pass over `stream`."""
    stream.reset()
    for batch in stream:
        module.forward_backward(batch)
        module.update()
        contender.batch(batch)
    contender.read()


def peak(name, arguments):
    """Peak memory in MB of a process that trains with contender `name` alone."""
    command = [sys.executable, __file__, "--only", name, "--batches", str(arguments.batches),
               "--batch-size", str(arguments.batch_size), "--rounds", "2"]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600).stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--only", choices=list(CONTENDERS), help="run one contender and print its peak memory in MB")
    arguments = parser.parse_args()
    module, stream = trained(*digits(arguments.batches * arguments.batch_size), arguments.batch_size)
    if arguments.only:
        contender = CONTENDERS[arguments.only](module)
        for _ in range(arguments.rounds):
            one_round(module, stream, contender)
        mx.nd.waitall()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    contenders = {name: functools.partial(one_round, module, stream, kind(module)) for name, kind in CONTENDERS.items()}
    seconds = in_turns(contenders, arguments.rounds)
    print("{:18}{:>10}{:>10}{:>18}{:>10}".format("contender", "ms/batch", "ratio", "(middle half)", "peak MB"))
    for name, times in seconds.items():
        print("{:18}{:10.2f}{:10.3f}{:>18}{:10.0f}".format(
            name, 1000 * statistics.median(times) / arguments.batches, *ratio(times, seconds["no metric"]),
            peak(name, arguments)), flush=True)


if __name__ == "__main__":
    main()
