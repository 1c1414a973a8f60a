"""What the benchmarks share: data, and contenders that take turns in one process."""
import gzip
import os
import statistics
import time
from pathlib import Path

import mxnet as mx
import numpy as np


def digits(number):
    """The first `number` training images of MNIST, (number, 1, 28, 28), and their labels; else noise."""
    folder = os.environ.get("MXLOSS_MNIST_DIR")
    if not folder:
        print("data: noise, for MXLOSS_MNIST_DIR is not set")
        return np.random.rand(number, 1, 28, 28).astype("float32"), np.random.randint(0, 10, number).astype("float32")
    print("data: MNIST from", folder)
    with gzip.open(Path(folder) / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(16 + number * 784)[16:], np.uint8).reshape(-1, 1, 28, 28) / np.float32(255)
    with gzip.open(Path(folder) / "train-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(8 + number)[8:], np.uint8).astype("float32")


def in_turns(contenders, rounds):
    """Seconds of each round of each contender, which is called without arguments; each begins a round in turn."""
    for run in contenders.values():  # warm up
        timed(run)
    seconds = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        for name in names[number % len(names):] + names[:number % len(names)]:
            seconds[name].append(timed(contenders[name]))
    return seconds


def timed(run):
    """Seconds that a call takes, the engine's work included."""
    mx.nd.waitall()
    start = time.perf_counter()
    run()
    mx.nd.waitall()
    return time.perf_counter() - start


def ratio(times, others):
    """The median of the ratios of the rounds, and the middle half of them, in words."""
    ratios = sorted(one / other for one, other in zip(times, others))
    quarter = len(ratios) // 4
    return statistics.median(ratios), "{:.3f} to {:.3f}".format(ratios[quarter], ratios[-1 - quarter])
