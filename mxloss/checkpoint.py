"""Checkpoints that appear whole or not at all, and keep everything that a training has reached.

Usage::

    mxloss.fit(module, train, num_epoch=20, checkpoint='runs/a', resume=True)        # the last 3 are kept

    folder = mxloss.checkpoint.Folder('runs/a', keep=2, best=('accuracy', 'max', 'validation'))
    mxloss.fit(module, train, validation, num_epoch=20, checkpoint=folder, resume=True)
    path = folder.load('best').path
    symbol, arg_params, aux_params = mx.model.load_checkpoint(...)     # model-symbol.json and model-0003.params in it

A checkpoint is a folder, ``0003-000120`` for three whole epochs and 120 batches. It is written under another name, made
to reach the disk, and renamed in one step. Its manifest has the size and checksum of each file.
"""
import json
import math
import os
import pickle
import re
import shutil
import zlib
from pathlib import Path
from typing import NamedTuple, Optional

import mxnet as mx

from . import _check

_FORMAT, _VERSION = "mxloss checkpoint", 1
_NAME = re.compile(r"(\d{4,})-(\d{6,})")


class Checkpoint(NamedTuple):
    """What a training had reached."""

    epoch: int  #: epochs that were whole; the number of the epoch to go on with
    batch: int  #: batches that were trained in it; the number of the batch to go on with
    params: dict  #: arrays by name, ``arg:`` or ``aux:`` in front as in MXNet's own files
    state: dict  #: what else was given to `Folder.save`
    values: Optional[dict]  #: values of the whole epoch by 'train' and 'validation', then by name
    path: Path  #: its folder


class Folder:
    """Keeps the last checkpoints of one training, and the best one.

    Args:
        path: a folder, made when the first checkpoint is written.
        keep: how many of the last ones to keep, at least 1.
        best: name and direction of the value whose best checkpoint is kept too, ``('accuracy', 'max')``; a third entry
            'train' (the default) or 'validation' says of which data. Only whole epochs are compared.
        every: write one after each so many batches too, not only after each epoch.

    Raises:
        ValueError: `path` is a file.

    Examples:
        >>> path = getfixture('tmp_path') / 'run'
        >>> folder = Folder(path, keep=1, best=('loss', 'min'))
        >>> for epoch, loss in enumerate([0.5, 0.1, 0.3]):
        ...     _ = folder.save(epoch + 1, 0, {'arg:w': mx.nd.array([epoch])}, values={'train': {'loss': loss}})
        >>> folder.list()
        [(2, 0), (3, 0)]
        >>> folder.load().params['arg:w'].asscalar(), folder.load('best').params['arg:w'].asscalar()
        (2.0, 1.0)
        >>> sorted(mx.model.load_params(str(path / '0003-000000' / 'model'), 3)[0])
        ['w']
    """

    def __init__(self, path, *, keep=3, best=None, every=None):
        self.path = Path(path)
        self.keep = _check.integer("Folder", "keep", keep, low=1)
        self.every = every if every is None else _check.integer("Folder", "every", every, low=1)
        self.best = best if best is None else _best(best)
        if self.path.exists() and not self.path.is_dir():
            _check.fail("Folder", "path", "a folder", str(self.path))

    def list(self):
        """Epoch and batch of each checkpoint, the oldest first."""
        if not self.path.is_dir():
            return []
        found = [_NAME.fullmatch(entry.name) for entry in self.path.iterdir()]
        return sorted((int(match.group(1)), int(match.group(2))) for match in found if match)

    def save(self, epoch, batch, params, state=None, *, symbol=None, values=None, failed=False):
        """Write a checkpoint, then remove those that are no longer kept.

        Args:
            epoch: epochs that were whole.
            batch: batches that were trained in the next one.
            params: arrays by name, ``arg:`` or ``aux:`` in front.
            state: whatever can be pickled.
            symbol: the network, for `mx.model.load_checkpoint`.
            values: of a whole epoch, by 'train' and 'validation', then by name.
            failed: the numbers are no longer finite: written beside the others, for whoever wants to look into it,
                under a name that is never loaded from and replaces no other.

        Returns:
            The folder of the checkpoint.

        Raises:
            ValueError: `best` names a value that there is not.
            OSError: the system refuses to write; the checkpoints before are as they were.
        """
        name = "{:04d}-{:06d}".format(epoch, batch) + ("-failed" if failed else "")
        target = self.path / name
        if values is not None and self.best is not None:
            _check.names("Folder", "best", self.best[0], values.get(self.best[2], {}))
        if target.exists():
            if not failed:  # come to twice without a step between
                return target
            _remove(target)
        part = self.path / ".{}.{}.part".format(name, os.getpid())
        part.mkdir(parents=True)
        try:
            _save_params(str(part / _params_name(epoch)), params)
            if symbol is not None:
                symbol.save(str(part / "model-symbol.json"))
            (part / "state.pickle").write_bytes(pickle.dumps(state, protocol=4))
            files = {file.name: _fingerprint(file) for file in sorted(part.iterdir())}
            manifest = {"format": _FORMAT, "version": _VERSION, "epoch": epoch, "batch": batch,
                        "values": _finite(values), "files": files}
            (part / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            for file in part.iterdir():
                _sync(file)
            _sync(part)
            os.rename(str(part), str(target))
        except BaseException:
            shutil.rmtree(str(part), ignore_errors=True)
            raise
        _sync(self.path)
        self._prune()
        return target

    def load(self, which="last"):
        """Read a checkpoint.

        Only read what you trust: it is made with `pickle`, which can run any code.

        Args:
            which: 'last', 'best', or epoch and batch of one.

        Returns:
            A `Checkpoint`, or None if there is none at all.

        Raises:
            ValueError: a file of it is missing, has been cut, changed, or is none of ours.
        """
        places = self.list()
        _check.choice("Folder", "which", which, ("last", "best", *places))
        if which == "best" and self.best is None:
            _check.fail("Folder", "best", "given, to load the best checkpoint", None)
        if which == "last":
            place = places[-1] if places else None
        else:
            place = self._best_place(places) if which == "best" else which
        return None if place is None else _read(self._folder(place))

    def rewind(self, place):
        """Remove the checkpoints after `place`, epoch and batch: what goes on from there will write them again."""
        for later in self.list():
            if later > place:
                _remove(self._folder(later))

    def clean(self):
        """Remove what a process that was killed has left unfinished."""
        if self.path.is_dir():
            for entry in self.path.iterdir():
                if re.fullmatch(r"\.\d{4,}-\d{6,}(-failed)?\.\d+\.(part|removed)", entry.name):
                    shutil.rmtree(str(entry), ignore_errors=True)

    def _folder(self, place):
        return self.path / "{:04d}-{:06d}".format(*place)

    def _best_place(self, places):
        """The first of the checkpoints with the best value; the best so far is always among those that are kept."""
        name, direction, data = self.best
        scored = []
        for place in places:
            value = ((_manifest(self._folder(place))["values"] or {}).get(data) or {}).get(name)
            if value is not None:
                scored.append((value if direction == "min" else -value, place))
        return min(scored)[1] if scored else None

    def _prune(self):
        places = self.list()
        kept = set(places[-self.keep:])
        if self.best is not None and len(places) > self.keep:
            kept.add(self._best_place(places))
        for place in places:
            if place not in kept:
                _remove(self._folder(place))


def metric_state(metric):
    """What a metric has added up so far, of any `mx.metric.EvalMetric`, as something to be pickled.

    Examples:
        >>> one, other = mx.metric.Loss(), mx.metric.Loss()
        >>> one.update(None, mx.nd.array([3, 5]))
        >>> restore_metric(other, metric_state(one))
        >>> other.get()
        ('loss', 4.0)
    """
    state = {"kind": type(metric).__name__, "name": metric.name}
    if _parts(metric):
        return dict(state, parts=[metric_state(part) for part in _parts(metric)])
    attributes = metric.__getstate__() if hasattr(metric, "__getstate__") else vars(metric)
    sums = {key: value for key, value in attributes.items() if key not in _settings(metric)}
    return dict(state, sums={key: pickle.dumps(value) for key, value in sums.items() if _can_be_pickled(value)})


def restore_metric(metric, state):
    """Let `metric` go on from what `metric_state` gave.

    Raises:
        ValueError: it was another metric.
    """
    _check_metric(metric, state)
    _restore(metric, state)


def _parts(metric):
    return metric.metrics if isinstance(metric, mx.metric.CompositeEvalMetric) else []


def _check_metric(metric, state):
    got, parts = (type(metric).__name__, metric.name), _parts(metric)
    if got != (state["kind"], state["name"]) or len(parts) != len(state.get("parts", ())):
        _check.fail("restore_metric", "metric", "{} {!r}, of which the checkpoint is".format(
            state["kind"], state["name"]), metric)
    for part, part_state in zip(parts, state.get("parts", ())):
        _check_metric(part, part_state)


def _restore(metric, state):
    for part, part_state in zip(_parts(metric), state.get("parts", ())):
        _restore(part, part_state)
    vars(metric).update((key, pickle.loads(value)) for key, value in state.get("sums", {}).items())


def _settings(metric):
    """Names of what a metric was made with, which is none of what it has added up."""
    try:
        config = metric.get_config()
    except NotImplementedError:  # `mx.metric.np`
        config = ()
    return {"_kwargs", "_feval", "name", "output_names", "label_names"}.union(config)


def _can_be_pickled(value):
    try:
        pickle.dumps(value)
    except Exception:  # pickle has no one kind of error: a function given to `mx.metric.np`, a file, a lock
        return False
    return True


def _best(best):
    if not isinstance(best, (tuple, list)) or len(best) not in (2, 3):
        _check.fail("Folder", "best", "a name and 'min' or 'max'", best)
    name, direction, data = tuple(best) + ("train",) * (3 - len(best))
    return (name, _check.choice("Folder", "best", direction, ("min", "max")),
            _check.choice("Folder", "best", data, ("train", "validation")))


def _params_name(epoch):
    return "model-{:04d}.params".format(epoch)


def _save_params(path, params):
    try:
        mx.nd.save(path, params)
        mx.nd.load(path)  # MXNet does not notice that a full disk cut the end off
    except mx.base.MXNetError as error:
        raise OSError("cannot write {}: {}".format(path, str(error).strip().splitlines()[-1])) from error


def _finite(values):
    """`values` as JSON can tell them: a number that is not finite is None."""
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    return None if values is None or not math.isfinite(values) else float(values)


def _fingerprint(file):
    content = file.read_bytes()
    return {"bytes": len(content), "crc32": zlib.crc32(content)}


def _sync(path):
    """Make what was written reach the disk."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder):
    """Remove a checkpoint: out of sight in one step, so that no half of it is ever seen."""
    hidden = folder.with_name(".{}.{}.removed".format(folder.name, os.getpid()))
    os.rename(str(folder), str(hidden))
    shutil.rmtree(str(hidden), ignore_errors=True)


def _manifest(folder):
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _broken(file, "a whole manifest of a checkpoint", error)
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        _broken(file, "the manifest of a checkpoint of mxloss", manifest)
    if manifest.get("version") != _VERSION:
        _broken(file, "of version {}".format(_VERSION), manifest.get("version"))
    return manifest


def _read(folder):
    manifest = _manifest(folder)
    for name, expected in manifest["files"].items():
        try:
            got = _fingerprint(folder / name)
        except OSError as error:
            _broken(folder / name, "a file that can be read", error)
        if got["bytes"] != expected["bytes"]:
            _broken(folder / name, "of {} bytes, as it was written".format(expected["bytes"]), got["bytes"])
        if got != expected:
            _broken(folder / name, "as it was written", "another content")
    return Checkpoint(manifest["epoch"], manifest["batch"],
                      mx.nd.load(str(folder / _params_name(manifest["epoch"]))) if manifest["files"] else {},
                      pickle.loads((folder / "state.pickle").read_bytes()), manifest["values"], folder)


def _broken(file, allowed, got):
    _check.fail("checkpoint", str(file), allowed, got)
