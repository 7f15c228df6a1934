"""The tree, the import floors and the size rules hold for every file of the package.

The floors themselves are an import-linter contract in pyproject.toml. Here it is shown that the
contract passes on the tree as it is and that it fails on a tree with one wrong import, so that a
contract that checks nothing cannot go unnoticed.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "utvm"
FLOORS = {
    "cli": 6,
    "tune": 5,
    "driver": 4,
    "importers": 3,
    "passes": 3,
    "schedule": 3,
    "codegen": 3,
    "device": 3,
    "op": 2,
    "ir": 1,
    "target": 1,
    "artifact": 1,
    "support": 0,
}
DATA_FOLDERS = {"crt", "boards", "records"}
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in SOURCES if path.name != "__init__.py"]
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 60


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The Python of the package and its contract, free to be broken."""
    ignored = shutil.ignore_patterns("__pycache__", *DATA_FOLDERS)
    shutil.copytree(PACKAGE, tmp_path / "src" / "utvm", ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_folder_has_its_floor() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders - DATA_FOLDERS == set(FLOORS)


def test_floors_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("support", "ir"),
        ("ir", "op"),
        ("ir", "target"),
        ("device", "ir.made_up"),
        ("passes", "schedule"),
        ("driver", "tune"),
        ("tune", "cli"),
    ],
)
def test_a_wrong_import_breaks_the_contract(copy: Path, importer: str, imported: str) -> None:
    package = copy / "src" / "utvm"
    target = package.joinpath(*imported.split("."))
    if not target.is_dir():
        target.with_suffix(".py").write_text("", encoding="utf-8")
    wrong = package / importer / "wrong_import.py"
    wrong.write_text(f"import utvm.{imported}\n", encoding="utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"utvm.{importer}.wrong_import -> utvm.{imported}" in result.stdout


def test_a_cycle_inside_a_folder_breaks_the_contract(copy: Path) -> None:
    folder = copy / "src" / "utvm" / "support"
    (folder / "one.py").write_text("import utvm.support.two\n", encoding="utf-8")
    (folder / "two.py").write_text("import utvm.support.one\n", encoding="utf-8")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_opens_with_its_docstring(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a file opens with 3-10 lines that say what it is"
    prose = [line for line in docstring.splitlines() if line.strip() and not line.startswith(" ")]
    assert len(docstring.splitlines()) >= 3, docstring
    assert len(prose) <= 10, "indented examples and grammars aside"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    too_long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not too_long
