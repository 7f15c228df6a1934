"""The native half of the emulator: built where the cache says, mirrored without a gap."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from utvm.device import emulator_hooks as hooks

LOAD = "from utvm.device.emulator_hooks import load_hooks; load_hooks()"


@pytest.mark.slow
def test_two_processes_build_into_an_empty_cache_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "UTVM_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2] / "src")
    both = [subprocess.Popen([sys.executable, "-c", LOAD], env=environment) for _ in range(2)]
    assert [process.wait(timeout=600) for process in both] == [0, 0]
    assert len(list(tmp_path.glob("*/emulator_hooks.*"))) == 1


def test_the_constants_are_those_of_the_c_file() -> None:
    source = (Path(hooks.__file__).parent / "hooks" / "emulator_hooks.c").read_text()
    stops = source[source.index("STOP_NONE") : source.index("}", source.index("STOP_NONE"))]
    names = [name.strip() for name in stops.split(",")]
    assert [getattr(hooks, name) for name in names] == list(range(len(names)))
    flags = ("NODE_CHECKS_STACK", "NODE_ENTERS_MEASURED", "NODE_ENTERS_OPERATOR")
    for name in (*flags, "NODE_CHECKS_BASES", "EDGE_TAKEN", "EDGE_CALLS", "EDGE_CHECKS_STACK"):
        assert f"{name} = {getattr(hooks, name)}" in source
