"""``utvm compile``: writes bundles, folder or tar, whole or not at all.

What is in them is tested in tests/driver/test_export.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Utvm
from utvm.artifact.bundle import read_bundle


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_writes_a_bundle(utvm: Utvm, digits: Path, tmp_path: Path, name: str) -> None:
    arguments = ("compile", digits, "--target", "cortex-m4", "-o", tmp_path / name)
    done = utvm(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{tmp_path / name}: ") and "Emulated Cortex-M4" in done.out
    report = json.loads(utvm(*arguments, "--name", "zip code", "--json").out)
    assert report == {
        "model": str(digits),
        "bundle": str(tmp_path / name),
        "name": "zip_code",
        "target": "cortex-m4",
        "board": "emu_cortex_m4",
        "executor": "aot",
    }
    assert "codegen/host/src/tvmgen_zip_code_run.c" in read_bundle(tmp_path / name).files


def test_mistakes_are_told_before_the_work(utvm: Utvm, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = utvm("compile", "nothing.tflite", "-o", tmp_path / "full")
    assert done.code == 1 and "the folder is not empty" in done.err
    done = utvm("compile", "nothing.tflite", "-o", tmp_path / "x.zip")
    assert done.code == 1 and "bundles are not compressed" in done.err
    assert not (tmp_path / "x.zip").exists()
