"""Random micro functions: what the assembly computes equals what the interpreter computes.

Nests of one to three loops, up to twelve accumulators, loads of all widths, conditions, scalars as
numbers of rounds and as strides. A seed that fails is a test case: add it to ``SEEDS``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thumb.kernels import RandomNest
from tests.codegen.thumb.programs import Case, check_cases, random_case

SEEDS = {"cortex-m4": range(0, 8), "cortex-m7": range(200, 206)}


STRIDED = {"cortex-m4": range(400, 412), "cortex-m7": range(412, 418)}
"""Seeds of nests whose strides are scalars: several pointers, or one that jumps."""


def case_of(seed: int, strides: bool = False, packed: bool = True) -> Case:
    function = RandomNest(seed, strides, packed).function()
    random = np.random.default_rng(seed)
    return random_case(
        function, seed, {v.name: int(random.integers(0, 5)) for v in function.scalars}
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", SEEDS)
def test_random_nests_are_exact(target: str, tmp_path: Path) -> None:
    check_cases([case_of(seed) for seed in SEEDS[target]], tmp_path, target)


@pytest.mark.slow
@pytest.mark.parametrize("target", STRIDED)
def test_random_strides_are_exact(target: str, tmp_path: Path) -> None:
    check_cases([case_of(seed, strides=True) for seed in STRIDED[target]], tmp_path, target)
