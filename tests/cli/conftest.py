"""What tests of the command line share: a way to call it, and a network that is always there.

``utvm`` runs the command line in this process and gives back exit code, standard output and
standard error; what needs a process of its own starts ``COMMAND`` instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from utvm.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
# A shell that runs tests in the background may have told its children to ignore Ctrl-C.
COMMAND = (
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    f"sys.path.insert(0, {str(REPOSITORY / 'src')!r});"
    "from utvm.cli.main import main; sys.exit(main(sys.argv[1:]))",
)


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str


Utvm = Callable[..., Done]


@pytest.fixture
def utvm(capsys: pytest.CaptureFixture[str]) -> Utvm:
    """``utvm("run", path, "--json")``."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def digits() -> Path:
    """The demo's network."""
    return REPOSITORY / "examples" / "digits" / "digits.tflite"


@pytest.fixture(scope="session")
def digits_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows of the demo's test images with what LiteRT answers."""
    with np.load(REPOSITORY / "examples" / "digits" / "digits_test.npz") as stored:
        arrays = {name: stored[name][:3] for name in stored.files}
    path = tmp_path_factory.mktemp("digits") / "rows.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path


@pytest.fixture(scope="session")
def command() -> tuple[str, ...]:
    """The command line as a process."""
    return COMMAND
