"""The README's Python blocks run as they stand, one after the other; its commands are those that exist."""
import re
from pathlib import Path

import pytest

import mxloss

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
    missing = [name for name in mxloss.__all__ if "`{}".format(name) not in catalogue
               and "`mxloss.{}".format(name) not in catalogue]
    assert not missing
