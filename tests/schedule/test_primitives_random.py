"""Random primitives on random kernels of random shapes never change what is computed.

Kernels are element-wise, windows and sums of products over bytes, halfwords and words. Primitives
are tried in random order with random arguments; where one is refused, the next is tried. Each step
is verified, the result is executed statement by statement and compared with the unscheduled loops.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loop_interpreter import run_function
from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import Function
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_loop import print_function
from utvm.ir.verify_loop import verify_function
from utvm.schedule.primitives import loops
from utvm.schedule.tensorize import tensorize
from utvm.schedule.trace import PRIMITIVES, Schedule, replay
from utvm.support.errors import ScheduleError

Array = npt.NDArray[Any]
MOST_TEXT = 12_000
APPLIED: Counter[str] = Counter()
"""How often each primitive has been taken: one that never is, is not tested."""

BODIES = [name for name, one in INSTRUCTIONS.items() if one.body]
LANE_WISE = {
    "int8": (
        "a[{i}]",
        "a[{i}] ^ b[{i}]",
        "int8(min(max(int32(a[{i}]) + int32(b[{i}]), -128), 127))",
        "int8(min(max(int32(a[{i}]) - int32(b[{i}]), -128), 127))",
        "max(a[{i}], 3i8)",
    ),
    "int16": (
        "min(max(a[{i}], -128i16), 127i16)",
        "int16(int32(a[{i}]) + int32(b[{i}]) >> 1)",
        "int16(min(max(int32(a[{i}]) + int32(b[{i}]), -32768), 32767))",
    ),
    "uint8": (
        "uint8(min(int32(a[{i}]) + int32(b[{i}]), 255))",
        "uint8(max(int32(a[{i}]) - int32(b[{i}]), 0))",
    ),
}


def element_wise(rng: random.Random) -> str:
    dtype = rng.choice(list(LANE_WISE))
    rows, columns = rng.randint(1, 4), rng.choice([3, 4, 6, 8, 9, 12])
    expression = rng.choice(LANE_WISE[dtype]).format(i="y, x")
    shape = f"{dtype}[{rows},{columns}]"
    return f"""function k {{
  input a: {shape}
  input b: {shape}
  output c: {shape}
  for y in 0..{rows} parallel {{
    for x in 0..{columns} parallel {{
      c[y, x] = {expression}
    }}
  }}
}}
"""


def window(rng: random.Random) -> str:
    """A sum over a window; rows are copied to a workspace before."""
    rows, columns, taps = rng.randint(1, 3), rng.choice([2, 4, 5, 8]), rng.randint(1, 3)
    height, width = rows + taps - 1, columns + 2
    return f"""function k {{
  input a: int8[{height},{width}]
  workspace rows: int8[{height},{width}]
  output c: int32[{rows},{columns}]
  for i in 0..{height} parallel {{
    for j in 0..{width} parallel {{
      rows[i, j] = a[i, j]
    }}
  }}
  for y in 0..{rows} parallel {{
    for x in 0..{columns} parallel {{
      alloc acc: int32[]
      acc[] = 0
      for ky in 0..{taps} {{
        for kx in 0..3 {{
          acc[] = acc[] + int32(rows[y + ky, x + kx])
        }}
      }}
      c[y, x] = acc[]
    }}
  }}
}}
"""


def products(rng: random.Random) -> str:
    """A dense layer; types of any width."""
    outputs, depth = rng.choice([1, 2, 4, 6]), rng.choice([2, 4, 7, 8])
    return dense(outputs, depth, *(rng.choice(["int8", "int16"]) for _ in range(2)))


def dense(outputs: int, depth: int, x: str, w: str) -> str:
    return f"""function k {{
  input a: {x}[{depth}]
  const w: {w}[{outputs},{depth}]
  output c: int32[{outputs}]
  for y in 0..{outputs} parallel {{
    alloc acc: int32[]
    acc[] = 0
    for r in 0..{depth} {{
      acc[] = acc[] + int32(a[r]) * int32(w[y, r])
    }}
    c[y] = acc[]
  }}
}}
"""


def arrays_of(function: Function, seed: int) -> dict[str, Array]:
    """Values of half a type's range, so that no sum of products overflows."""
    data = np.random.default_rng(seed)
    return {
        b.name: data.integers(b.dtype.minimum // 2, b.dtype.maximum // 2, b.shape).astype(
            b.dtype.numpy
        )
        for b in (*function.inputs, *function.constants)
    }


def random_step(rng: random.Random, schedule: Schedule) -> Schedule:
    """One primitive with random arguments; the schedule itself where it is refused."""
    names = sorted({loop.var.name for loop in loops(schedule.function)}) or ["none"]
    function = schedule.function
    buffers = [b.name for b in (*function.inputs, *function.constants, *function.workspace)]
    wide = rng.choice([None, None, DType.INT16])
    arguments: dict[str, tuple[Any, ...]] = {
        "split": (rng.choice(names), rng.randint(1, 4)),
        "reorder": (rng.choice(names), rng.choice(names)),
        "fuse": (rng.choice(names), rng.choice(names)),
        "unroll": (rng.choice(names),),
        "unroll_jam": (rng.choice(names),),
        "vectorize": (rng.choice(names),),
        "tensorize": (),
        "compute_at": ("rows", rng.choice(names)),
        "cache_read": (rng.choice(buffers), rng.choice([*names, ""]), wide),
        "cache_write": ("c", rng.choice(names)),
        "transform_layout": ("w", "OI", rng.choice(["IO", "OI", "OI2o", "OI4i", "IO2o"]), wide),
        "hoist_condition": (rng.choice(names),),
        "partition": (rng.choice(names),),
        "order_by_load": (rng.choice(buffers),),
        "outline": (rng.choice(names), f"micro_{len(schedule.micros)}"),
    }
    assert set(arguments) == set(PRIMITIVES)
    name = rng.choice(sorted(arguments))
    if name == "tensorize":
        fitting = [pair for pair in product(names, BODIES) if tensorizes(function, *pair)]
        arguments[name] = rng.choice(fitting or [(names[0], "smlad")])
    try:
        changed: Schedule = getattr(schedule, name)(*arguments[name])
    except ScheduleError as error:
        assert error.what
        return schedule
    if len(print_function(changed.function)) > MOST_TEXT:
        return schedule
    APPLIED[name] += changed.function != schedule.function
    return changed


def tensorizes(function: Function, name: str, instruction: str) -> bool:
    """Whether a loop is what the instruction does."""
    try:
        tensorize(function, name, instruction)
    except ScheduleError:
        return False
    return True


def check(original: Function, schedule: Schedule, inputs: dict[str, Array]) -> None:
    micros = {micro.name: micro for micro in schedule.micros}
    for micro in schedule.micros:
        verify_function(micro, after=str(schedule))
    verify_function(schedule.function, after=str(schedule), micros=micros)
    expected = run_function(original, inputs)
    data = {b.name: inputs[b.name] for b in original.inputs}
    arrays = {**data, **schedule.constants}
    found = run_function(schedule.function, arrays, micros=schedule.micros)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=str(schedule))


def in_words(s: Schedule) -> Schedule:
    """A sum of products with operands of 16 bits."""
    s = s.cache_read("a", "", DType.INT16)
    return s.transform_layout("w", "OI", "OI", DType.INT16)


def run_seed(seed: int) -> None:
    rng = random.Random(seed)
    original = parse_function(rng.choice([element_wise, window, products])(rng))
    verify_function(original)
    inputs = arrays_of(original, seed)
    constants = {b.name: inputs[b.name] for b in original.constants}
    schedule = Schedule(original, constants)
    if "w" in constants and rng.random() < 0.5:
        schedule = in_words(schedule).split("r", 2)
    for _ in range(rng.randint(1, 12)):
        schedule = random_step(rng, schedule)
        verify_function(schedule.function, after=str(schedule))
    check(original, schedule, inputs)
    text = print_function(schedule.function)
    assert parse_function(text) == schedule.function
    nests = list(replay(original, schedule.steps))
    assert not nests or nests[-1][1] == schedule.function


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1 << 32))
def test_random_schedules_keep_the_meaning(seed: int) -> None:
    run_seed(seed)


def test_random_schedules_take_every_primitive() -> None:
    APPLIED.clear()
    for seed in range(120):
        run_seed(seed)
    conditional = {"hoist_condition", "partition"}  # there are no conditions in these kernels
    assert set(APPLIED) >= set(PRIMITIVES) - conditional, APPLIED


@pytest.mark.parametrize("outputs", [4, 8])
@pytest.mark.parametrize("depth", [2, 6, 8, 9])
def test_a_dense_layer_in_words(outputs: int, depth: int) -> None:
    """The schedule of the tutorial, for several shapes with and without tails."""
    original = parse_function(dense(outputs, depth, "int8", "int8"))
    inputs = arrays_of(original, depth)
    s = in_words(Schedule(original, {"w": inputs["w"]}))
    s = s.split("r", 2).tensorize("r_i", "smlad").split("y", 4).unroll_jam("y_i")
    assert "smlad" in print_function(s.function)
    check(original, s, inputs)
