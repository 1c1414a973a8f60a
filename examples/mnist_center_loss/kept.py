"""What a run keeps in its folder beside the record: its settings, and the trained models in MXNet's own files."""
import json
import shutil

import mxnet as mx

from .output import reason, whole, write_text
from .problem import Problem
from .settings import checkpoints


def begin(folder, names, described, resume):
    """Make sure that what is resumed is the same run; otherwise remove what an earlier one has left.

    Args:
        folder: of the run.
        names: files that a run writes.
        described: all that decides what the run comes to, by name.
        resume: whether to go on with the run that is there, if there is one.

    Raises:
        Problem: it is another one, or its files cannot be replaced.
    """
    path = folder / "settings.json"
    if resume and path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        for name, value in described.items():
            if earlier.get(name) != value:
                raise Problem("--resume goes on with the run in {}, whose {} is {}, got {}".format(
                    folder, name.replace("_", " "), earlier.get(name), value))
        return
    try:
        for old in [folder / name for name in names] + exported(folder, "*"):
            if old.exists():
                old.unlink()
        if (folder / "checkpoints").exists():
            shutil.rmtree(str(folder / "checkpoints"))
    except OSError as error:
        raise Problem("--out must be a folder whose files can be replaced, got {}: {}".format(
            folder, reason(error))) from error
    write_text(path, json.dumps(described, indent=2) + "\n")


def export(folder, name, net, workers):
    """Write the last whole epoch of a model in the two files that `mx.model.load_checkpoint` reads.

    Args:
        folder: of the run.
        name: of the model.
        net: its Symbol.
        workers: who has trained it.

    Returns:
        Its parameters and auxiliary states; None if there is no whole epoch.
    """
    saved = checkpoints(folder, name, workers)
    places = [place for place in saved.list() if place[1] == 0]
    if not places:
        return None
    checkpoint = saved.load(places[-1])
    arrays = {key.split(":", 1)[1]: array for key, array in checkpoint.params.items()}
    params = [{key: arrays[key] for key in keys if key in arrays}
              for keys in (net.list_arguments(), net.list_auxiliary_states())]
    path = folder / "{}-{:04d}.params".format(name, checkpoint.epoch)
    with whole(folder / (name + "-symbol.json")) as temporary:
        net.save(str(temporary))
    with whole(path) as temporary:
        mx.nd.save(str(temporary), {kind + key: array for kind, part in zip(("arg:", "aux:"), params)
                                    for key, array in part.items()})
    for old in exported(folder, name):
        if old != path:
            old.unlink()
    return params


def exported(folder, name):
    """The parameters that `export` has written."""
    return sorted(folder.glob(name + "-[0-9][0-9][0-9][0-9].params"))
