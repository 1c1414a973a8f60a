"""What a step of the center loss costs: ``python benchmarks/center_loss.py [--json FILE] [--seconds S] [--rounds N]``.

A step is the loss of a batch, the gradient of the features and the movement of the centers. In each round every
contender makes some steps in turn, each ended by `waitall`; the figure is the median of all, after a warm-up. The
operator and the loop move centers in their forward pass; of the blocks the whole step is measured, Trainer included.
"""
import argparse
import json
import os
import platform
import sys
import time

import mxnet as mx
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import mxloss  # noqa: E402

SIZES = [(128, 2, 10), (256, 64, 1000), (512, 512, 10000)]
SPARSE_SIZES = [(512, 128, classes) for classes in (1000, 10000, 100000, 1000000)]
CONTENDERS = ("operator", "block dense", "block row-sparse", "loop per sample")


@mx.operator.register("loop_center_loss")
class LoopProp(mx.operator.CustomOpProp):
    """The center loss as it is written down: a Python loop over the samples, another over the classes that occur."""

    def __init__(self, num_class="1", alpha="0.5"):
        super().__init__(need_top_grad=False)
        self.num_class, self.alpha = int(num_class), float(alpha)

    def list_arguments(self):
        return ["data", "label"]

    def list_auxiliary_states(self):
        return ["center_bias"]

    def infer_shape(self, in_shape):
        return [in_shape[0], (in_shape[0][0],)], [(1,)], [(self.num_class, in_shape[0][1])]

    def create_operator(self, ctx, shapes, dtypes):
        return Loop(self.num_class, self.alpha)


class Loop(mx.operator.CustomOp):
    def __init__(self, num_class, alpha):
        super().__init__()
        self.num_class, self.alpha = num_class, alpha

    def forward(self, is_train, req, in_data, out_data, aux):
        data, label, center = in_data[0], in_data[1].asnumpy().astype(int), aux[0]
        self.difference = mx.nd.zeros_like(data)
        total, count = {}, {}
        for i, j in enumerate(label):
            self.difference[i] = data[i] - center[j]
            total[j] = total.get(j, 0) - self.difference[i]
            count[j] = count.get(j, 0) + 1
        for j in total:
            center[j] -= self.alpha * total[j] / (1 + count[j])
        loss = mx.nd.sum(self.difference ** 2) / 2 / len(label)
        self.assign(out_data[0], req[0], loss)

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], self.difference)
        self.assign(in_grad[1], req[1], mx.nd.zeros_like(in_grad[1]))


def inputs(batch, features, classes):
    rng = np.random.RandomState(0)
    feature = mx.nd.array(rng.normal(size=(batch, features)))
    return feature, mx.nd.array(rng.randint(0, classes, batch))


def operator_step(op_type, batch, features, classes):
    """One executor of the operator behind MakeLoss, as in Module."""
    feature, label = inputs(batch, features, classes)
    symbol = mx.sym.MakeLoss(mx.sym.Custom(mx.sym.var("data"), mx.sym.var("label"), op_type=op_type, num_class=classes,
                                           name="center"))
    executor = symbol.simple_bind(mx.cpu(), grad_req={"data": "write", "label": "null"}, data=feature.shape,
                                  label=label.shape)

    def step():
        executor.forward(is_train=True, data=feature, label=label)
        executor.backward()
    return step


def block_step(sparse_grad, batch, features, classes):
    """The hybridized block and its Trainer."""
    feature, label = inputs(batch, features, classes)
    feature.attach_grad()
    block = mxloss.CenterLoss(classes, features, sparse_grad=sparse_grad)
    block.initialize()
    block.hybridize()
    trainer = mx.gluon.Trainer(block.collect_params(), "withcenters", {"base": "sgd", "learning_rate": 0.1})

    def step():
        with mx.autograd.record():
            loss = block(feature, label)
        loss.backward()
        trainer.step(batch)
    return step


def contender(name, size):
    if name == "operator":
        return operator_step("centerloss", *size)
    if name == "loop per sample":
        return operator_step("loop_center_loss", *size)
    return block_step(name == "block row-sparse", *size)


def measure(steps, rounds, seconds):
    """Median milliseconds of each of `steps`, which take turns."""
    times = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(3):
            step()
            mx.nd.waitall()
    for _ in range(rounds):
        for name, step in steps.items():
            end = time.perf_counter() + seconds / rounds
            while True:
                begin = time.perf_counter()
                step()
                mx.nd.waitall()
                now = time.perf_counter()
                times[name].append(1000 * (now - begin))
                if now > end:
                    break
    return {name: {"ms": float(np.median(of)), "steps": len(of)} for name, of in times.items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each contender and size (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender (%(default)s)")
    options = parser.parse_args(arguments)
    results = []
    print("{:<24}".format("batch, features, classes") + "".join("{:>18}".format(name + ", ms") for name in CONTENDERS))
    groups = [[(name, size) for name in CONTENDERS] for size in SIZES]
    for group in [*groups, [("block row-sparse", size) for size in SPARSE_SIZES]]:
        figures = measure({key: contender(*key) for key in group}, options.rounds, options.seconds)
        for size in sorted({size for _, size in group}):
            of_size = {name: figure for (name, other), figure in figures.items() if other == size}
            results.append({"batch": size[0], "features": size[1], "classes": size[2], "contenders": of_size})
            cells = ["{:.3f}".format(of_size[name]["ms"]) if name in of_size else "" for name in CONTENDERS]
            print("{:<24}".format("{}, {}, {}".format(*size)) + "".join("{:>18}".format(cell) for cell in cells))
    by_size = {(item["batch"], item["features"], item["classes"]): item["contenders"] for item in results}

    def ratio(one, name, other, against):
        return by_size[one][name]["ms"] / by_size[other][against]["ms"]
    ratios = {
        "loop / operator at 256, 64, 1000": ratio(SIZES[1], "loop per sample", SIZES[1], "operator"),
        "row-sparse / operator at 512, 512, 10000": ratio(SIZES[2], "block row-sparse", SIZES[2], "operator"),
        "row-sparse at 1000000 / at 1000 classes": ratio(SPARSE_SIZES[-1], "block row-sparse", SPARSE_SIZES[0],
                                                         "block row-sparse"),
    }
    for name, value in ratios.items():
        print("{}: {:.2f}".format(name, value))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"results": results, "ratios": ratios, "python": platform.python_version(),
                       "mxnet": mx.__version__, "cores": os.cpu_count()}, file, indent=1)


if __name__ == "__main__":
    main()
