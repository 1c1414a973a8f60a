"""The house of DESIGN.md, section 4, drawn from the imports: arrows go down, and every loss stands in its place."""
import ast
import inspect
from pathlib import Path

import pytest

import mxloss

PACKAGE = Path(mxloss.__file__).parent
FLOORS = [  # from the cellar up; an arrow points to a lower floor
    {"_check"},
    {"operator", "functional"},
    {"loss"},
    {"checkpoint", "random", "stop", "watch", "workers"},  # what Module.fit and Estimator share
    {"estimator", "callback", "optimizer", "metric", "io"},
    {"train", "launch"},
    {"__init__"},
]
WITHIN_A_FLOOR = {("estimator", "metric"), ("callback", "metric"), ("stop", "checkpoint"), ("workers", "stop")}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path):
    """The part of the house that a file belongs to: its name, or that of its package."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def floor(name):
    levels = [level for level, names in enumerate(FLOORS) if name in names]
    assert levels, "mxloss/{} has no place in the plan: give it a floor here and in DESIGN.md".format(name)
    return levels[0]


def imported(path):
    """The parts of the house that a file imports."""
    depth = len(path.relative_to(PACKAGE).parts) - 1  # packages between mxloss and the file
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth + 1:
            parts |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mxloss":
            names = node.module.split(".")[1:]
            parts |= {names[0]} if names else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            parts |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mxloss.")}
    return parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_go_down_only(path):
    here = part(path)
    for other in imported(path) - {here}:
        assert floor(other) < floor(here) or (here, other) in WITHIN_A_FLOOR, \
            "{} imports {}, which does not stand below it".format(path.relative_to(PACKAGE), other)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_outgrows_a_reader(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, "make it a package of the same name"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_error_sentences_are_written_at_the_gate(path):
    """`raise ValueError("...")` stands in `_check` alone."""
    if part(path) == "_check":
        return
    raised = [node.lineno for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
              if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
              and isinstance(node.exc.func, ast.Name) and node.exc.func.id in ("ValueError", "TypeError")]
    assert not raised, "{}: lines {}".format(path.relative_to(PACKAGE), raised)


def public(module):
    return [(name, getattr(module, name)) for name in module.__all__]


MODULES = [mxloss] + [value for _, value in public(mxloss) if inspect.ismodule(value)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_have_a_docstring(module):
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), "{}.{}".format(module.__name__, name)
