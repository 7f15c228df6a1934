"""Files and folders appear whole or not at all, and nobody's files are replaced.

Each way of failing in the middle leaves the destination and its surroundings as they were.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from utvm.support.errors import InputError
from utvm.support.files import MARKER, replace_file, replace_folder


def snapshot(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="ascii")
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path, text: str = "x") -> None:
    (folder / "f").write_text(text, encoding="ascii")


def test_file_is_replaced(tmp_path: Path) -> None:
    for text in ("one", "two"):
        replace_file(tmp_path / "a" / "f", lambda p: p.write_text(text, encoding="ascii"))  # noqa: B023
    assert snapshot(tmp_path) == {"a/f": "two"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("x")])
def test_interrupted_file_leaves_the_old_one(tmp_path: Path, failure: BaseException) -> None:
    write(tmp_path, "old")

    def fail(path: Path) -> None:
        path.write_text("half", encoding="ascii")
        raise failure

    with pytest.raises(type(failure)):
        replace_file(tmp_path / "f", fail)
    assert snapshot(tmp_path) == {"f": "old"}


def test_full_disk_is_the_users_error(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="cannot write: No space left on device"):
        replace_file(tmp_path / "f", fail)
    assert snapshot(tmp_path) == {}


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    replace_folder(tmp_path / "d", write)
    replace_folder(tmp_path / "d", lambda folder: (folder / "g").touch())
    assert set(snapshot(tmp_path)) == {"d/g", f"d/{MARKER}"}


def test_interrupted_folder_leaves_the_old_one(tmp_path: Path) -> None:
    replace_folder(tmp_path / "d", write)
    before = snapshot(tmp_path)

    def fail(folder: Path) -> None:
        write(folder, "half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_folder(tmp_path / "d", fail)
    assert snapshot(tmp_path) == before


def test_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    replace_folder(tmp_path / "link", write)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "f").exists()


def test_destinations_of_the_wrong_kind(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="a file of this name exists"):
        replace_folder(tmp_path / "f", write)
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match="a folder of this name exists"):
        replace_file(tmp_path / "d", write)
    with pytest.raises(InputError, match="cannot write"):
        replace_file(tmp_path / "f" / "g", write)
