"""What every test may ask for: the shared models, what is compiled of them, and golden files.

``shared_models`` is the folder of real networks that lies beside the repository on some machines;
a test that asks for it skips where it is missing. ``kept`` compiles them once for all tests.
``golden`` compares text with a file below tests/golden/ and rewrites this file only under
``--update-golden``. ``PATIENCE_SECONDS`` is how long a test waits for what must happen: long enough
for a machine that is slow, or stands still.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kept import Kept

# How long an example takes says nothing: machines that test are busy.
settings.register_profile("utvm", deadline=None)
settings.load_profile("utvm")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY / ".." / "shared"
GOLDEN = REPOSITORY / "tests" / "golden"
PATIENCE_SECONDS = 120.0


_KEPT = "UTVM_TESTS_KEPT"


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C works as at a terminal: a shell tells what it runs in the background to ignore it.

    Many tests start Python: with bytecode that is kept each spares most of a second.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not hasattr(config, "workerinput"):  # else it is a process of such a run
        os.environ[_KEPT] = tempfile.mkdtemp(prefix="utvm-tests-")
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the tests produce to tests/golden/; read the diff before committing it",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_KEPT), ignore_errors=True)


@pytest.fixture(scope="session")
def kept() -> Kept:
    """What the compiler has made of real networks in this run of the tests."""
    return Kept(Path(os.environ[_KEPT]))


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder that holds one folder per real network."""
    folder = SHARED / "models"
    if not folder.is_dir():
        pytest.skip("needs the real networks in ../shared/models")
    return folder


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)`` fails when ``text`` differs from the file tests/golden/``name``."""
    update = bool(request.config.getoption("--update-golden"))

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no golden file {name}; make it with --update-golden"
        assert text == path.read_text(encoding="utf-8"), f"{name} differs from its golden file"

    return compare
