"""Files appear whole or not at all; a folder is made where it can be, and taken away where it was of no use."""
import os

import pytest

from examples.mnist_center_loss.output import output_folder, reason, whole, write_text
from examples.mnist_center_loss.problem import Problem


def test_a_file_appears_when_its_block_ends_and_not_before(tmp_path):
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(str(tmp_path)) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")

    def fail():
        with whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(str(tmp_path)) == ["a.txt"]


def test_a_full_disk_is_a_problem_in_one_line(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Problem, match=r"^cannot write .*a.txt: No space left on device; make room or choose another"):
        write_text(tmp_path / "a.txt", "new")
    assert os.listdir(str(tmp_path)) == []


def test_a_folder_is_made_with_the_folders_above_it(tmp_path):
    with output_folder(tmp_path / "a" / "b", []) as folder:
        write_text(folder / "c.txt", "c")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "c"
    assert os.listdir(str(folder)) == ["c.txt"]


def test_a_folder_that_stayed_empty_is_removed_after_a_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "a" / "b", []):
        raise KeyboardInterrupt
    assert os.listdir(str(tmp_path)) == []


def test_a_folder_that_was_there_or_has_files_stays_after_a_failure(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(Problem), output_folder(tmp_path / "a" / "b", []) as folder:
        [write_text(folder / name, "") for name in ("c.txt", "gone/d.txt")]
    with pytest.raises(KeyError), output_folder(tmp_path / "a" / "d", []):
        raise KeyError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c.txt"]


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/deeper", "n" * 300, "made/" + "n" * 300])
def test_an_impossible_folder_is_a_problem_and_leaves_nothing(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="^--out must be a folder that can be written to, got "), \
            output_folder(tmp_path / path, []):
        pytest.fail("the block must not run")
    assert os.listdir(str(tmp_path)) == ["file"]


def test_a_folder_of_the_system_is_a_problem():
    with pytest.raises(Problem, match="^--out must be a folder that can be written to, got /proc/mxloss: "), \
            output_folder("/proc/mxloss", []):
        pytest.fail("the block must not run")


def test_a_read_only_folder_is_a_problem(tmp_path, monkeypatch):
    def refuse(path, content):
        raise OSError(30, "Read-only file system")
    monkeypatch.setattr(type(tmp_path), "write_bytes", refuse)
    with pytest.raises(Problem, match="got .*new: Read-only file system$"), output_folder(tmp_path / "new", []):
        pytest.fail("the block must not run")
    assert os.listdir(str(tmp_path)) == []


def test_a_folder_in_the_place_of_a_file_is_a_problem(tmp_path):
    (tmp_path / "embedding.png").mkdir()
    with pytest.raises(Problem, match="without a folder embedding.png in it"), \
            output_folder(tmp_path, ["summary.json", "embedding.png"]):
        pytest.fail("the block must not run")


def test_reason_is_a_line():
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert reason(ValueError("two\n lines")) == "two lines"
    assert reason(EOFError()) == "EOFError"
