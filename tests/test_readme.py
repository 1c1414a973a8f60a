"""The README's Python blocks run as they stand, one after the other; its commands are those that exist."""
import re

import pytest

import mxloss
from examples.mnist_center_loss import cli

from .markdown import ROOT, blocks, run

README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks():
    return [block for block in blocks(README) if block.language == "python"]


def test_python_blocks_run(tmp_path):
    run(ROOT / "README.md", python_blocks(), tmp_path)


def test_there_are_python_blocks():
    assert len(python_blocks()) >= 4


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
