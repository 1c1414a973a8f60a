"""The command: train both models, compare them, write everything."""
import argparse
import contextlib
import importlib
import json
import math
import os
import sys
import time
from pathlib import Path

import mxnet as mx

import mxloss
from mxloss.watch import Records

from . import data as images
from . import gluon_training, kept, measures, network, picture, training
from .output import output_folder, reason, write_text
from .problem import Interrupted, Problem
from .progress import DownloadBar
from .settings import CLIP, Settings, ended, smallest
from .workers import connect, own_part

PROGRAM = "python -m examples.mnist_center_loss"
MODELS = {"softmax": "softmax alone", "center_loss": "softmax + center loss"}
DEFAULTS = {"MNIST": {"epochs": 8, "batch_size": 128}, "digits": {"epochs": 40, "batch_size": 32}}
LOSSES = ("softmax_loss", "center_loss", "total_loss")
MOMENTUM = 0.9
FILES = ["metrics.jsonl", "losses.png", "settings.json", "summary.json", "embedding.png"]


def main(arguments=None):
    """Run the command; the result is the exit status."""
    try:
        run(parse(sys.argv[1:] if arguments is None else arguments))
    except Problem as problem:
        print("{}: {}".format(PROGRAM, problem), file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print("{}: interrupted; the same command with --resume goes on".format(PROGRAM), file=sys.stderr)
        return interrupted.args[0]
    except KeyboardInterrupt:
        print("{}: interrupted".format(PROGRAM), file=sys.stderr)
        return 130
    finally:
        with contextlib.suppress(mx.base.MXNetError):
            mx.nd.waitall()  # an operation that is still under way at exit can hang the interpreter
    return 0


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        raise Problem("{} (--help shows all options)".format(" ".join(message.split())))


def parse(arguments):
    """The options, checked as far as they can be without the data.

    Raises:
        Problem: one of them is wrong.
    """
    parser = Parser(prog=PROGRAM, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
                    description="Train a network on MNIST twice from the same weights, with softmax alone and with\n"
                                "softmax + center loss, and compare the two embeddings.")
    add = parser.add_argument
    add("--data", choices=images.CHOICES, default="auto",
        help="the images; auto: MNIST, or scikit-learn's digits where it cannot be downloaded (default: auto)")
    add("--data-dir", metavar="DIR", help="folder with MNIST's four files, with or without .gz (default: the one that "
        "{} names, else MXNet's own, where they are downloaded to)".format(images.VARIABLE))
    add("--train-size", type=_whole(0), default=0, metavar="N", help="use the first N training images; 0: all")
    add("--test-size", type=_whole(0), default=0, metavar="N", help="use the first N test images; 0: all")
    add("--network", choices=sorted(network.NETWORKS), default="lenet", help="(default: lenet)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--devices", type=_whole(1), metavar="N", help="train on cpu(0) to cpu(N-1) (default: 1)")
    where.add_argument("--gpus", type=_gpus, metavar="I,J", help="train on these GPUs")
    add("--api", choices=("module", "gluon"), default="module", help="how to train (default: module)")
    add("--center", choices=("operator", "block"),
        help="the center loss: the registered operator, with centers of its own on each device, or the block, with one "
        "set of centers on all devices and workers (default: operator on one device with --api module, else block)")
    add("--kvstore", choices=("local", "device", "dist_sync"), default="device",
        help="what adds up the gradients of several devices; dist_sync: of several workers too, which "
        "python -m examples.mnist_center_loss.launch starts (default: device)")
    add("--epochs", type=_whole(1), metavar="N", help=_default_of("epochs"))
    add("--batch-size", type=_whole(1), metavar="N", help=_default_of("batch_size"))
    add("--hybridize", action="store_true", help="compile the Gluon network and losses, with --api gluon")
    add("--lr", type=_number(0, low_open=True), default=0.05, metavar="X",
        help="learning rate at the start; it falls to a hundredth along a cosine (default: 0.05)")
    add("--lr-steps", type=_epochs, default=(), metavar="E,F",
        help="let the learning rate fall after these epochs instead, to a tenth each time")
    add("--wd", type=_number(0), default=0.0005, metavar="X", help="weight decay (default: 0.0005)")
    add("--alpha", type=_number(0, 1), default=0.5, metavar="X",
        help="how far a center moves towards its samples in a step, 0 to 1 (default: 0.5)")
    add("--weight", type=_number(0), default=0.2, metavar="X", help="weight of the center loss (default: 0.2)")
    add("--seed", type=_whole(0, 2 ** 31 - 1), default=1, metavar="N", help="of weights and batches (default: 1)")
    add("--target-loss", type=_target, action="append", default=[], metavar="NAME=X",
        help="end the training of a model after the epoch in which this loss of the training images, as metrics.jsonl "
        "has it, is at most X: center_loss=0.05; may be given several times")
    add("--resume", action="store_true",
        help="go on where an earlier run with the same --out and options was ended, and end as if it had not been")
    add("--interrupt-at", type=_whole(1), default=0, metavar="EPOCH",
        help="end the run in the middle of this epoch, as Ctrl-C does: to try --resume")
    add("--tensorboard", metavar="DIR", help="write files for TensorBoard: losses, speed, weights, centers")
    add("--out", default=os.path.join("runs", "mnist_center_loss"), metavar="DIR",
        help="folder for metrics.jsonl, losses.png, summary.json, embedding.png and checkpoints (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.data == "digits" and options.data_dir is not None:
        raise Problem("--data-dir names a folder with MNIST: use it with --data mnist or --data auto")
    if options.api == "gluon" and options.center == "operator":
        raise Problem("--center must be block with --api gluon, got operator")
    if options.hybridize and options.api != "gluon":
        raise Problem("--hybridize is for --api gluon: Module's networks are compiled anyway")
    for name in ("data_dir", "out", "tensorboard"):
        if getattr(options, name) == "":
            raise Problem("--{} must name a folder, got nothing".format(name.replace("_", "-")))
    if options.tensorboard is not None:
        importlib.import_module("tensorboardX")  # what is missing is told before anything is written
    return options


def run(options):
    """Train, compare, write.

    Raises:
        Problem: something has to be changed before it can work.
        Interrupted: a signal has ended it.
    """
    begin = time.monotonic()
    names = FILES + [name + "-symbol.json" for name in MODELS]
    workers = connect(options.kvstore)
    first = workers.rank == 0
    with output_folder(options.out, names) if first else contextlib.nullcontext(Path(options.out)) as folder:
        data = _load(options)
        own = own_part(data, workers)
        settings = _settings(options, own, workers)
        described = _described(options, data, settings)
        if first:
            print(data, flush=True)
            print("settings: network {network}, api {api}, center {center}, {} on {}, epochs {epochs}, batch size "
                  "{batch_size}, lr {lr:g}, wd {wd:g}, alpha {alpha:g}, weight {weight:g}, seed {seed}".format(
                      "1 worker" if workers.count == 1 else "each of {} workers".format(workers.count),
                      " ".join(described["devices"]), **described), flush=True)
            kept.begin(folder, names, described, options.resume)
        panels = []
        for number, (name, title) in enumerate(MODELS.items()):
            net, labels, center_loss = _network(name, options, settings)
            more = {"network": options.network, "center_loss": center_loss} if options.api == "gluon" else {}
            train = gluon_training.train if options.api == "gluon" else training.train
            try:
                outcome = train(name, net, labels, own, settings, folder, workers.store(number), **more)
            except OSError as error:
                raise Problem("cannot write to {}: {}; make room or choose another folder".format(
                    folder, reason(error))) from error
            params = kept.export(folder, name, net, workers) if first else None
            if first:
                picture.draw_losses(folder / "losses.png", Records(folder / "metrics.jsonl").read(), MODELS)
            ended(name, outcome)
            if first:
                panels.append(_panel(title, net, *params, data, settings.contexts[0]))
        if first:
            _write(folder, dict(described, source=data.source, seconds=round(time.monotonic() - begin, 1)), panels)


def _load(options):
    bar = DownloadBar()
    try:
        data = images.load(options.data, options.data_dir, progress=bar)
    finally:
        bar.close()
    return images.cut(data, options.train_size, options.test_size)


def _settings(options, data, workers):
    """How to train on `data`: what was not asked for is chosen here."""
    if options.gpus:
        contexts = [mx.gpu(number) for number in options.gpus]
    else:
        contexts = [mx.cpu(number) for number in range(options.devices or 1)]
    default = DEFAULTS[data.name]
    settings = Settings(options.epochs or default["epochs"], options.batch_size or default["batch_size"], options.lr,
                        MOMENTUM, options.wd, options.seed, contexts, workers, lr_steps=options.lr_steps,
                        hybridize=options.hybridize, targets=tuple(options.target_loss), resume=options.resume,
                        interrupt_at=options.interrupt_at, tensorboard=options.tensorboard)
    for label in (data.train_label, data.test_label):
        smallest(len(label), settings.batch_size, len(contexts))
    return settings


def _center(options, settings):
    """By which door the center loss enters the network."""
    alone = len(settings.contexts) == 1 and settings.workers.count == 1 and options.api == "module"
    return options.center or ("operator" if alone else "block")


def _network(name, options, settings):
    """The network of a model, its label variables, and its CenterLoss block or None."""
    if name == "softmax":
        return network.softmax_alone(options.network), network.SOFTMAX_LABELS, None
    if _center(options, settings) == "operator":
        return network.softmax_and_center(options.network, alpha=options.alpha, weight=options.weight,
                                          batch_size=settings.batch_size), network.CENTER_LABELS, None
    center_loss = mxloss.CenterLoss(network.NUM_CLASS, 2, alpha=options.alpha, weight=options.weight,
                                    prefix="center_loss_")
    return network.softmax_and_block(options.network, center_loss), network.CENTER_LABELS, center_loss


def _described(options, data, settings):
    """All that decides what a run comes to, by name."""
    return {
        "data_set": data.name, "train_size": len(data.train_label), "test_size": len(data.test_label),
        "network": options.network, "devices": [str(context) for context in settings.contexts],
        "epochs": settings.epochs, "batch_size": settings.batch_size, "lr": settings.lr,
        "lr_steps": list(settings.lr_steps), "momentum": settings.momentum, "wd": settings.wd, "clip_gradient": CLIP,
        "api": options.api, "hybridize": settings.hybridize, "center": _center(options, settings),
        "workers": settings.workers.count, "alpha": options.alpha, "weight": options.weight, "seed": settings.seed,
    }


def _panel(title, net, arg_params, aux_params, data, context):
    """A model's embedding of the test images, measured."""
    embedding, _ = measures.outputs(net, arg_params, aux_params, data.train_image, context)
    centers = measures.class_means(embedding, data.train_label)
    embedding, scores = measures.outputs(net, arg_params, aux_params, data.test_image, context)
    return picture.Panel(title, measures.measure(embedding, scores, data.test_label, centers), embedding,
                         data.test_label, centers)


def _write(folder, described, panels):
    """Print the table; write it and the picture."""
    summary = dict(described, centers=measures.CENTERS, mxloss=mxloss.__version__,
                   models={name: panel.measures for name, panel in zip(MODELS, panels)})
    picture.draw(folder / "embedding.png", panels, "{}: embeddings of {} test images, {} epochs, seed {}".format(
        described["data_set"], described["test_size"], described["epochs"], described["seed"]))
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    print("\n{}\n\ncenters: {}\n{:.0f} seconds; written to {}".format(
        measures.table([(panel.title, panel.measures) for panel in panels]), measures.CENTERS, described["seconds"],
        folder))


def _whole(low, high=None):
    def whole_number(text):
        allowed = "a whole number >= {}".format(low) if high is None else "a whole number in [{}, {}]".format(low, high)
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError("must be {}, got {}".format(allowed, text))
        return value
    return whole_number


def _number(low, high=None, *, low_open=False):
    def number(text):
        allowed = "a finite number {} {}".format(">" if low_open else ">=", low) if high is None else \
            "a number in [{}, {}]".format(low, high)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        below = value <= low if low_open else value < low
        if not math.isfinite(value) or below or (high is not None and value > high):
            raise argparse.ArgumentTypeError("must be {}, got {}".format(allowed, text))
        return value
    return number


def _epochs(text):
    try:
        epochs = tuple(int(part) for part in text.split(","))
    except ValueError:
        epochs = ()
    if not epochs or list(epochs) != sorted(set(epochs)) or epochs[0] < 1:
        raise argparse.ArgumentTypeError("must be epochs from 1 in rising order with commas between them, got "
                                         "{}".format(text))
    return epochs


def _target(text):
    name, _, value = text.partition("=")
    if name not in LOSSES:
        raise argparse.ArgumentTypeError("must be NAME=X, NAME one of {}, got {}".format(", ".join(LOSSES), text))
    return name, _number(0)(value)


def _gpus(text):
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError("must be different numbers with commas between them, got {}".format(text))
    present = mx.context.num_gpus()
    if not all(0 <= number < present for number in numbers):
        raise argparse.ArgumentTypeError("must be among the {} GPUs that MXNet sees, got {}".format(present, text))
    return numbers


def _default_of(name):
    return "(default: {})".format(", ".join("{} for {}".format(value[name], key) for key, value in DEFAULTS.items()))
