"""Register blocks: exact, and within the cycles that were reached, measured by the emulator.

The figures are cycles per 16 multiply-accumulates of one call with two blocks, biases, rescale and
loops included, and of the inner loop alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thumb.kernels import block
from tests.codegen.thumb.programs import Case, check_cases, random_case
from utvm.codegen.thumb import allocation_of, assemble
from utvm.codegen.thumb.pricing import price
from utvm.ir.loop import Function
from utvm.target.target import load_target

# pixels, filters, int16 weights, steps unrolled, rounds -> cycles per 16 MACs of the inner loop on
# Cortex-M4 and M7. 8 SMLAD and 6 LDR in two groups of loads are 16 cycles on the M4.
INNER = {
    (2, 4, True, 8, 4): (16.75, 8.25),
    (2, 4, True, 4, 8): (17.5, 8.5),
    (2, 4, False, 8, 4): (18.75, 10.25),
    (4, 2, False, 8, 4): (17.75, 9.25),
    (1, 8, True, 4, 4): (21.25, 9.0),
}


def small_case(function: Function, wide: bool, seed: int = 0, **scalars: int) -> Case:
    """Operands as networks have them: pixels and weights of nine bits, so that no sum overflows."""
    case = random_case(function, seed, scalars)
    random = np.random.default_rng(seed)
    arrays = dict(case.arrays)
    arrays["x"] = random.integers(-256, 255, arrays["x"].size).astype(np.int16)
    if wide:
        weights = random.integers(-256, 255, 2 * arrays["stream"].size).astype(np.int16)
        arrays["stream"] = weights.view(np.int32)
    return Case(function, arrays, dict(scalars))


@pytest.mark.parametrize("shape", INNER, ids=str)
@pytest.mark.parametrize("core", [0, 1], ids=["m4", "m7"])
def test_the_inner_loop_keeps_its_cycles(shape: tuple[int, int, bool, int, int], core: int) -> None:
    pixels, filters, wide, unrolled, rounds = shape
    target = load_target(("cortex-m4", "cortex-m7")[core])
    function = block(pixels, filters, wide=wide, unrolled=unrolled, rounds=rounds)
    blocks = allocation_of(function, target).program.blocks
    inner = max(blocks, key=lambda b: b.weight)
    cycles = price(inner, inner.insts, target.pipeline)
    assert 16 * cycles / (2 * pixels * filters * unrolled) <= INNER[shape][core]
    stacked = [i for i in inner.insts if i.memory is not None and i.memory.area]
    assert all(i.op == "ldr" for i in stacked), "an accumulator or pointer is spilled"
    assert len(stacked) <= 1, "only where the loop ends may lie on the stack"


@pytest.mark.parametrize(
    ("target", "toolchain"), [("cortex-m4", "zig"), ("cortex-m7", "zig"), ("cortex-m4", "gcc")]
)
def test_blocks_are_exact(target: str, toolchain: str, tmp_path: Path) -> None:
    shapes = [*INNER, (3, 4, True, 2, 2), (1, 1, True, 1, 3), (2, 2, False, 3, 1)]
    cases: list[Case] = []
    for seed, (pixels, filters, wide, unrolled, rounds) in enumerate(shapes):
        for pairs, groups in ((False, 0), (True, 3), (True, 1)):
            function = block(
                pixels, filters, wide=wide, unrolled=unrolled, rounds=rounds, pairs=pairs
            )
            scalars = {"groups": groups} if pairs else {}
            cases.append(small_case(function, wide, seed, **scalars))
    check_cases(cases, tmp_path, target, toolchain)


# Cycles of a whole call: 2 pixels x 4 filters, 144 taps (3x3, 16 channels), 4 blocks: 4608 MACs.
CALLS = {
    ("cortex-m4", True): 1.096,
    ("cortex-m7", True): 0.553,
    ("cortex-m4", False): 1.221,
    ("cortex-m7", False): 0.677,
}


@pytest.mark.parametrize(("target", "wide"), CALLS, ids=str)
def test_a_call_keeps_its_cycles(target: str, wide: bool, tmp_path: Path) -> None:
    function = block(2, 4, wide=wide, unrolled=8, rounds=9, blocks=4)
    (result,) = check_cases([small_case(function, wide)], tmp_path, target)
    assert result.cycles / (2 * 4 * 144 * 4) <= CALLS[target, wide]
    guess = allocation_of(function, load_target(target)).cycles
    assert guess == pytest.approx(result.cycles, rel=0.03)


def test_a_loop_of_no_rounds_is_jumped_over(tmp_path: Path) -> None:
    function = block(2, 2, wide=True, unrolled=2, rounds=2, pairs=True)
    case = small_case(function, True, groups=0)
    check_cases([case], tmp_path)


def test_the_text_is_what_it_was(golden: Callable[[str, str], None]) -> None:
    function = block(2, 4, wide=True, unrolled=2, rounds=4)
    golden("thumb/block_2x4.c", assemble(function, "block", load_target("cortex-m4")))
