"""Makes or completes .venv with the pinned packages and utvm itself in editable form.

In: the name of a requirements file. Out: a usable .venv at the root of the tree. Assumes only the
standard library of a Python of at least 3.11. Debian and Ubuntu split ``ensurepip`` off into
python3-venv; without it the environment gets its pip from the interpreter's own pip, from the
distribution's pip wheel, or from the package that holds this wheel, unpacked without installing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
NO_PIP = (
    "cannot make .venv: this Python has neither ensurepip nor pip; "
    "install one of them, on Debian and Ubuntu: apt-get install python3-venv"
)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: make_venv.py REQUIREMENTS", file=sys.stderr)
        return 2
    if not succeeds([str(VENV_PYTHON), "-m", "pip", "--version"]) and not create():
        print(NO_PIP, file=sys.stderr)
        return 1
    pip = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    for what in (["--requirement", str(ROOT / arguments[0])], editable):
        result = subprocess.run([*pip, *what], cwd=ROOT, check=False)
        if result.returncode != 0:
            print(f"pip failed to install {what[-1]}; its message is above", file=sys.stderr)
            return 1
    return 0


def create() -> bool:
    """Whether .venv now has a pip. Tries the ways in order of how ordinary they are."""
    if succeeds([sys.executable, "-c", "import ensurepip"]) and succeeds(
        [sys.executable, "-m", "venv", "--clear", str(VENV)]
    ):
        return True
    if not succeeds([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        return any(succeeds([*pip, "install", "--quiet", "pip"]) for pip in pips(Path(scratch)))


def pips(scratch: Path) -> Iterator[list[str]]:
    """Commands that run some pip on .venv."""
    yield [sys.executable, "-m", "pip", "--python", str(VENV_PYTHON)]
    for root in (Path("/"), scratch):
        if root == scratch:
            unpack_wheel_package(scratch)
        for wheel in sorted(root.glob("usr/share/python-wheels/pip-*.whl")):
            yield [str(VENV_PYTHON), str(wheel / "pip")]


def unpack_wheel_package(scratch: Path) -> None:
    """Fetches python3-pip-whl and unpacks it below ``scratch``; the system stays as it is."""
    download = ["apt-get", "download", "-qq", "python3-pip-whl"]
    if not succeeds(download, scratch):
        # A fresh container has no package lists yet.
        if os.geteuid() != 0 or not succeeds(["apt-get", "update", "-qq"], scratch):
            return
        succeeds(download, scratch)
    for package in scratch.glob("python3-pip-whl*.deb"):
        succeeds(["dpkg-deb", "-x", str(package), str(scratch)], scratch)


def succeeds(command: list[str], folder: Path = ROOT) -> bool:
    """Whether the command exists and exits with 0; its output is of no interest."""
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError:
        return False
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
