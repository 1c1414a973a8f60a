"""Every code block of docs/recipes.md runs, and prints what the page says."""
import doctest
import re

import pytest

from .markdown import ROOT, blocks, run, sections

PATH = ROOT / "docs" / "recipes.md"
TEXT = PATH.read_text(encoding="utf-8")
LANGUAGES = ("python", "bash", "text")  # text: what the block before it prints, ``...`` for any text
SLOW = ("Several machines", "Stop and resume")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def check(block, printed, got):
    wanted = printed.code if printed is not None else ""
    if not doctest.OutputChecker().check_output(wanted, got, FLAGS):
        example = doctest.Example(block.code, wanted)
        raise AssertionError("line {}:\n{}".format(block.line, doctest.OutputChecker().output_difference(
            example, got, FLAGS)))


def run_and_check(path, parts, folder):
    code = [block for block in parts if block.language != "text"]
    following = dict(zip(parts, parts[1:]))
    for block, got in zip(code, run(path, code, folder)):
        after = following.get(block)
        check(block, after if after is not None and after.language == "text" else None, got)


@pytest.mark.parametrize("block", blocks(TEXT), ids=lambda block: "line{}".format(block.line))
def test_every_block_is_of_a_language_that_is_run(block):
    assert block.language in LANGUAGES


def test_the_list_of_recipes_leads_to_each_of_them():
    anchors = [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in sections(TEXT)]
    assert re.findall(r"\]\(#(.+?)\)", TEXT) == anchors


def test_every_block_stands_in_a_section():
    assert [block for text in sections(TEXT).values() for block in blocks(text)] == blocks(TEXT)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
                                  for name, text in sections(TEXT).items()])
def test_the_blocks_of_a_recipe_run_and_print_what_it_says(name, tmp_path):
    parts = blocks(sections(TEXT)[name])
    shell = "\n".join(block.code for block in parts if block.language == "bash")
    assert [block.file for block in parts if block.file and block.file not in shell] == []  # a file that is never run
    run_and_check(PATH, parts, tmp_path)


WRONG = {
    "a false assertion": ("python", "assert 1 + 1 == 3", "", r"AssertionError"),
    "an output that the page does not show": ("python", "print(1)", "", "Got:\n    1"),
    "another output than the page shows": ("python", "print(1)", "```text\n2\n```\n", "Expected:\n    2"),
    "a command that fails": ("bash", "false | cat", "", "exit status 1"),
    "a process that is left behind": ("bash", "sleep 60 > /dev/null 2>&1 &", "", "left behind: .*sleep 60"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_the_runner_sees(what, tmp_path):
    language, code, rest, words = WRONG[what]
    parts = blocks("```{}\n{}\n```\n\n{}".format(language, code, rest))
    with pytest.raises(AssertionError, match=words):
        run_and_check("page.md", parts, tmp_path)


def test_the_runner_ends_what_takes_too_long(tmp_path):
    with pytest.raises(AssertionError, match="longer than 1 s"):
        run("page.md", blocks("```bash\nsleep 60\n```\n"), tmp_path, limit=1)


def test_blocks_share_a_folder_and_python_blocks_a_namespace(tmp_path):
    page = """```python
# say.py
print("said")
```
```bash
python say.py > a
```
```python
said = open("a").read()
```
```python
print(said)
```
```text
sa...
```
"""
    run_and_check("page.md", blocks(page), tmp_path)


def test_sections_keep_the_numbers_of_the_lines():
    text = "# page\n\n## one\n```python\n## no heading\n```\n\n## two\n```bash\n```\n"
    assert {name: [block.line for block in blocks(part)] for name, part in sections(text).items()} == {
        "one": [4], "two": [9]}
