"""Run the code blocks of a Markdown text in a process of their own, as a reader would who copies one after the other.

A Python block that begins with the comment ``# name.py`` is a file of that name; every other one runs, in the same
namespace as the ones before it. A shell block runs as it stands. All are in one folder.
"""
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
FILE = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A fenced block."""

    line: int  #: of the fence
    language: str
    code: str

    @property
    def file(self):
        """The name of the file that this is, or None."""
        match = FILE.match(self.code) if self.language == "python" else None
        return match and match.group(1)


def blocks(text):
    """All fenced blocks, whatever their language."""
    assert len(re.findall("^ *```", text, re.MULTILINE)) == 2 * len(FENCE.findall(text)), "a fence is not closed"
    return [Block(text[:match.start()].count("\n") + 1, *match.groups()) for match in FENCE.finditer(text)]


def sections(text):
    """The text below each heading ``## name``, by name, with the number of lines before it kept by empty lines."""
    shadow = FENCE.sub(lambda match: "".join("\n" if end == "\n" else " " for end in match.group()), text)
    starts = [(match.start(), match.group(1)) for match in re.finditer(r"^## (.+)$", shadow, re.MULTILINE)]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return {name: "\n" * text[:start].count("\n") + text[start:end] for (start, name), end in zip(starts, ends)}


def run(path, parts, folder, limit=120):
    """Run blocks of the Markdown file `path` in `folder`; what each of them printed.

    Raises:
        AssertionError: a block failed, took longer than `limit` seconds in all, or left a process behind.
    """
    marker = "MXLOSS_TEST_MARKDOWN={}".format(folder)
    environment = dict(os.environ, MXLOSS_TEST_MARKDOWN=str(folder), PYTHONPATH=str(ROOT), OMP_NUM_THREADS="2",
                       PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    job = json.dumps([str(path), [block._asdict() for block in parts]])
    process = subprocess.Popen([sys.executable, str(Path(__file__).resolve())], cwd=str(folder), env=environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        out, err = process.communicate(job, timeout=limit)
    except subprocess.TimeoutExpired:
        raise AssertionError("{} took longer than {} s".format(path, limit)) from None
    finally:
        left = processes(marker)
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, "{}\n{}".format(out[-4000:], err[-8000:])
    assert not left, "left behind: {}".format(list(left.values()))
    return json.loads((folder / ".outputs.json").read_text(encoding="utf-8"))


def processes(marker):
    """The processes with an entry `marker` in their environment: command lines by number (Linux)."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (place / "environ").read_bytes().split(b"\0"):
                found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            pass
    return found


def _main():
    """What the process of its own does."""
    path, parts = json.load(sys.stdin)
    main, outputs = types.ModuleType("__main__"), []
    sys.modules["__main__"] = main  # where pickle looks for what a block defines
    for block in (Block(**part) for part in parts):
        if block.file:
            Path(block.file).write_text(block.code, encoding="utf-8")
            outputs.append("")
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile("\n" * block.line + block.code, path, "exec"), vars(main))
            outputs.append(out.getvalue())
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.code], stdout=subprocess.PIPE,
                                  stdin=subprocess.DEVNULL, text=True)
            if done.returncode:
                sys.exit("{}, line {}: exit status {}\n{}".format(path, block.line, done.returncode, done.stdout))
            outputs.append(done.stdout)
    if "mxnet" in sys.modules:
        sys.modules["mxnet"].nd.waitall()
    Path(".outputs.json").write_text(json.dumps(outputs), encoding="utf-8")


if __name__ == "__main__":
    sys.path[0] = ""  # the folder of the blocks, not of this file
    _main()
