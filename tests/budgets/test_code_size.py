"""Generated code and runtime of the MLPerf Tiny networks stay small enough for small flash.

In: the networks where ../shared is there, compiled and linked with the default toolchain; nothing
runs. Code is what the ELF file holds beside constants: kernels, micro functions, runtime, startup.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kept import Kept
from utvm.driver.load import load_model
from utvm.driver.options import resolve_options, with_schedules

KIB = 1024
MOST_CODE = {"size": 16 * KIB, "balanced": 32 * KIB}
NETWORKS = ("ad01", "kws", "resnet8", "vww96")
MOST_CONSTANTS = {"kws": 1.18}
"""Times the model's own parameters, at ``size``, where it is not ``FEW_CONSTANTS``: kws has few
parameters, so a table of 1 KB counts, and its depthwise rows of three bytes take words."""
FEW_CONSTANTS = 1.1


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("objective", MOST_CODE)
@pytest.mark.parametrize("name", NETWORKS)
def test_code_stays_small(
    name: str, objective: str, target: str, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    expect_small(name, objective, target, shared_models, kept, tmp_path)


@pytest.mark.parametrize(
    ("name", "target"),
    [("resnet8", "cortex-m3"), ("vww96", "cortex-m3"), ("vww96", "cortex-m0plus")],
)
def test_code_without_packed_words_stays_small(
    name: str, target: str, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    expect_small(name, "balanced", target, shared_models, kept, tmp_path)


def expect_small(
    name: str, objective: str, target: str, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    model = load_model(shared_models / f"mlperf_{name}_int8" / "model.tflite")
    options = with_schedules(resolve_options(target), objective, portable_c=False)
    build = kept.build(model, options, tmp_path)
    assert build.memory is not None
    flash = build.memory.flash
    assert flash.code < MOST_CODE[objective]
    if objective == "size":
        parameters = sum(data.nbytes for data in build.compiled.imported.constants.values())
        assert flash.constants <= MOST_CONSTANTS.get(name, FEW_CONSTANTS) * parameters
