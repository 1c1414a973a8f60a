"""The README's Python blocks run as they stand, one after the other; its commands are those that exist."""
import re
from pathlib import Path

import pytest

import mxloss
from examples.mnist_center_loss import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    """Pairs of line number and code of a Markdown text's blocks in `language`."""
    return [(text[:match.start()].count("\n") + 1, match.group(1))
            for match in re.finditer(r"^```{}\n(.*?)^```".format(language), text, re.MULTILINE | re.DOTALL)]


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    for line, code in blocks(README, "python"):
        exec(compile("\n" * line + code, str(ROOT / "README.md"), "exec"), names)


def test_there_are_python_blocks():
    assert len(blocks(README, "python")) >= 4


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_and_pictures_are_there(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", README, re.MULTILINE))))
def test_make_targets_are_there(target):
    assert re.search(r"^{}:".format(target), (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_name_stands_in_the_catalogue():
    catalogue = README[README.index("## Catalogue"):]
    assert [name for name in mxloss.__all__ if "`mxloss.{}`".format(name) not in catalogue] == []


def test_the_commands_of_the_example_have_options_that_exist():
    commands = re.findall(r"^python -m examples.mnist_center_loss (.*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        cli.parse(command.split())
