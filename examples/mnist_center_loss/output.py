"""Where output goes: files that appear whole or not at all, in a folder that is known to take them; the terminal."""
import contextlib
import os
import sys
from pathlib import Path

from .problem import Problem


@contextlib.contextmanager
def whole(path):
    """A name beside `path` to write to: renamed to `path` if the block ends well, removed if it does not.

    Raises:
        Problem: the system refuses to write.
    """
    temporary = path.with_name(".{}.{}.part".format(path.name, os.getpid()))
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise Problem("cannot write {}: {}; make room or choose another folder".format(path, reason(error))) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path, text):
    """`text` as the whole content of `path`."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def output_folder(path, names):
    """A folder that files can be written to, made if it is not there; one that stays empty is removed after a failure.

    Args:
        path: the folder.
        names: the files that are going to be written, none of which may be a folder.

    Raises:
        Problem: there is no such folder to be had.
    """
    path = Path(path)
    made = []
    try:
        try:
            for folder in (*reversed(path.parents), path):
                if not folder.is_dir():
                    folder.mkdir()
                    made.append(folder)
            probe = path / ".probe.{}.part".format(os.getpid())
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise Problem("--out must be a folder that can be written to, got {}: {}".format(
                path, reason(error))) from error
        for name in names:
            if (path / name).is_dir():
                raise Problem("--out must be a folder without a folder {} in it, got {}".format(name, path))
        yield path
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def reason(error):
    """Why it did not work, in a line, in the system's own words where there are some."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "{} is not a folder".format(error.filename)
    inner = getattr(error, "reason", None)  # of an URLError
    if isinstance(inner, OSError):
        error = inner
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def is_terminal(stream):
    """Whether somebody watches `stream`."""
    return hasattr(stream, "isatty") and stream.isatty()


def lines_go_to():
    """The stream for progress: standard error has bars in a terminal, standard output has lines elsewhere."""
    return sys.stderr if is_terminal(sys.stderr) else sys.stdout
