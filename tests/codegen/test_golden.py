"""The C of four small networks is what tests/golden holds; there a change can be read.

clang-format leaves the files as they are (``make check`` holds them to that), and the same graph
gives the same bytes in every process, of C and of the program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.codegen.networks import NETWORKS
from tests.codegen.programs import build
from utvm.driver.pipeline import compile_graph
from utvm.target.target import load_target

REPOSITORY = Path(__file__).parents[2]
TARGET = "cortex-m4"
HASHES = """
import hashlib, pathlib, sys
from tests.codegen.networks import NETWORKS
from tests.codegen.test_golden import sources_of
for name in NETWORKS:
    for file, text in sources_of(name).items():
        print(file, hashlib.sha256(text.encode()).hexdigest())
"""


def sources_of(name: str) -> dict[str, str]:
    return dict(compile_graph(NETWORKS[name](), load_target(TARGET)).sources)


@pytest.mark.parametrize("name", NETWORKS)
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    for file, text in sources_of(name).items():
        golden(f"{name}/{file}", text)


def test_no_golden_file_is_left_over() -> None:
    wanted = {f"{name}/{file}" for name in NETWORKS for file in sources_of(name)}
    folder = REPOSITORY / "tests" / "golden"
    found = {path.relative_to(folder).as_posix() for path in folder.glob("*/tvmgen_*")}
    assert found == wanted


@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_is_used_is_included(name: str) -> None:
    kernels = sources_of(name)[f"tvmgen_{name}_kernels.c"]
    assert ('"utvm/math.h"' in kernels) == (name == "regression")
    assert ('"utvm/fixed_point.h"' in kernels) == ("utvm_" in kernels.replace("utvm_logisticf", ""))


def test_the_same_in_every_process(tmp_path: Path) -> None:
    listings = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"src{os.pathsep}."}
        done = subprocess.run(
            [sys.executable, "-c", HASHES],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        listings.append(done.stdout)
    assert listings[0] == listings[1]
    assert listings[0].count("\n") == 6 * len(NETWORKS)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_the_same_program(tmp_path: Path, toolchain: str) -> None:
    programs = []
    for number in range(2):
        folder = tmp_path / f"folder{number}"
        folder.mkdir()
        for file, text in sources_of("residual").items():
            (folder / file).write_text(text, encoding="ascii")
        programs.append(build(folder, TARGET, toolchain).read_bytes())
    assert programs[0] == programs[1]
