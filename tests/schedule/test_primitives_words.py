"""Primitives that pack, cache, fuse and rearrange: text in, text out, and what they refuse.

As in ``test_primitives.py``: functions are written by hand, results verified and executed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.loop_interpreter import run_function
from utvm.ir.dtype import DType
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_loop import print_function
from utvm.ir.verify_loop import verify_function
from utvm.schedule.trace import Schedule, replay
from utvm.support.errors import ScheduleError

Array = npt.NDArray[Any]
Steps = Callable[[Schedule], Schedule]

DENSE = """function dense {
  input x: int8[8]
  const w: int8[4,8]
  output y: int32[4]
  for c in 0..4 parallel {
    alloc acc: int32[]
    acc[] = 0
    for r in 0..8 {
      acc[] = acc[] + int32(x[r]) * int32(w[c, r])
    }
    y[c] = acc[]
  }
}
"""

ADD = """function add {
  input a: int8[3,8]
  input b: int8[3,8]
  output c: int8[3,8]
  for y in 0..3 parallel {
    for x in 0..8 parallel {
      c[y, x] = int8(min(max(int32(a[y, x]) + int32(b[y, x]), -128), 127))
    }
  }
}
"""

WINDOW = """function window {
  input a: int8[4,10]
  output b: int32[4,8]
  for y in 0..4 parallel {
    for x in 0..8 parallel {
      b[y, x] = int32(a[y, x]) - int32(a[y, x + 2])
    }
  }
}
"""


def scheduled(text: str, steps: Steps) -> Schedule:
    """The schedule, whose every step is verified and computes what the unscheduled loops do."""
    before = parse_function(text)
    verify_function(before)
    random = np.random.default_rng(0)
    constants: dict[str, Array] = {
        b.name: random.integers(-128, 128, b.shape).astype(b.dtype.numpy) for b in before.constants
    }
    after = steps(Schedule(before, constants))
    inputs = {
        b.name: random.integers(-128, 128, b.shape).astype(b.dtype.numpy) for b in before.inputs
    }
    micros = {micro.name: micro for micro in after.micros}
    for micro in after.micros:
        verify_function(micro)
    verify_function(after.function, micros=micros)
    expected = run_function(before, {**inputs, **constants})
    found = run_function(after.function, {**inputs, **after.constants}, micros=after.micros)
    for name, data in expected.items():
        np.testing.assert_array_equal(found[name], data)
    assert parse_function(print_function(after.function)) == after.function
    nests = list(replay(before, after.steps))
    assert not nests or nests[-1][1] == after.function
    return after


def body_of(schedule: Schedule) -> str:
    """The statements, without the declarations and two columns to the left."""
    lines = print_function(schedule.function).splitlines()[1:-1]
    roles = ("  input", "  output", "  const", "  workspace")
    return "\n".join(line[2:] for line in lines if not line.startswith(roles)) + "\n"


def test_fuse_sees_buffers_flat() -> None:
    assert (
        body_of(scheduled(ADD, lambda s: s.fuse("y", "x")))
        == """\
for y_x in 0..24 parallel {
  c.view(24)[y_x] = int8(min(max(int32(a.view(24)[y_x]) + int32(b.view(24)[y_x]), -128), 127))
}
"""
    )


def test_fuse_divides_where_accesses_leave_gaps() -> None:
    text = body_of(scheduled(WINDOW, lambda s: s.fuse("y", "x")))
    assert "b.view(32)[y_x] = int32(a[y_x / 8, y_x % 8]) - int32(a[y_x / 8, y_x % 8 + 2])" in text


def test_vectorize_finds_what_instructions_do_to_lanes() -> None:
    assert (
        body_of(scheduled(ADD, lambda s: s.fuse("y", "x").vectorize("y_x")))
        == """\
for y_x in 0..24 step 4 parallel {
  c.view(24)[y_x] lanes 4 = qadd8(a.view(24)[y_x] lanes 4, b.view(24)[y_x] lanes 4)
}
"""
    )


@pytest.mark.parametrize(
    ("dtype", "expression", "text"),
    [
        ("int8", "a[y, x]", "a.view(24)[y * 8 + x] lanes 4"),
        ("int8", "a[y, x] ^ b[y, x]", "lanes 4 ^ b"),
        ("int8", "a[y, x] & 15i8", "lanes 4 & 252645135"),
        ("int16", "min(max(a[y, x], -128i16), 127i16)", "ssat16_8("),
        ("int16", "int16(int32(a[y, x]) + int32(b[y, x]) >> 1)", "shadd16("),
        ("uint8", "uint8(max(int32(b[y, x]) - int32(a[y, x]), 0))", "uqsub8(b"),
        ("uint8", "uint8(min(int32(b[y, x]) + int32(a[y, x]), 255))", "uqadd8("),
    ],
)
def test_vectorize(dtype: str, expression: str, text: str) -> None:
    kernel = ADD.replace("int8[", f"{dtype}[")
    store = next(line for line in kernel.splitlines() if "c[y, x] =" in line)
    kernel = kernel.replace(store, f"      c[y, x] = {expression}")
    assert text in body_of(scheduled(kernel, lambda s: s.vectorize("x")))


def test_words_of_a_dense_layer() -> None:
    """Rows widened once, weights widened at compile time, two products an instruction."""

    def steps(s: Schedule) -> Schedule:
        s = s.cache_read("x", "c", DType.INT16).transform_layout("w", "OI", "OI", DType.INT16)
        return s.split("r", 2).tensorize("r_i", "smlad").unroll("r")

    after = scheduled(DENSE, steps)
    assert after.constants["w_OI"].dtype == np.int16
    assert (
        body_of(after)
        == """\
for c in 0..4 {
  for x_cache_0 in 0..8 parallel {
    x_cache[x_cache_0] = int16(x[x_cache_0])
  }
  alloc acc: int32[]
  acc[] = 0
  acc[] = smlad(x_cache[0] lanes 2, w_OI.view(32)[c * 8] lanes 2, acc[])
  acc[] = smlad(x_cache[2] lanes 2, w_OI.view(32)[c * 8 + 2] lanes 2, acc[])
  acc[] = smlad(x_cache[4] lanes 2, w_OI.view(32)[c * 8 + 4] lanes 2, acc[])
  acc[] = smlad(x_cache[6] lanes 2, w_OI.view(32)[c * 8 + 6] lanes 2, acc[])
  y[c] = acc[]
}
"""
    )


def test_cache_read_copies_what_an_iteration_reads() -> None:
    assert (
        body_of(scheduled(WINDOW, lambda s: s.cache_read("a", "y")))
        == """\
for y in 0..4 {
  for a_cache_1 in 0..10 parallel {
    a_cache[0, a_cache_1] = a[y, a_cache_1]
  }
  for x in 0..8 parallel {
    b[y, x] = int32(a_cache[0, x]) - int32(a_cache[0, x + 2])
  }
}
"""
    )


def test_cache_write_copies_out() -> None:
    assert (
        body_of(scheduled(WINDOW, lambda s: s.cache_write("b", "y")))
        == """\
for y in 0..4 {
  for x in 0..8 parallel {
    b_cache[0, x] = int32(a[y, x]) - int32(a[y, x + 2])
  }
  for b_cache_1 in 0..8 parallel {
    b[y, b_cache_1] = b_cache[0, b_cache_1]
  }
}
"""
    )


def test_layout_follows_the_register_block() -> None:
    def steps(s: Schedule) -> Schedule:
        return s.split("c", 2).unroll_jam("c_i").transform_layout("w", "OI", "OI2o")

    after = scheduled(DENSE, steps)
    assert after.constants["w_OI2o"].shape == (2, 8, 2)
    assert "int32(w_OI2o.view(32)[c * 8 + r * 2 + 1])" in body_of(after)


def test_outline_makes_a_micro_function() -> None:
    after = scheduled(WINDOW, lambda s: s.outline("x", "row"))
    assert (
        body_of(after)
        == """\
for y in 0..4 parallel {
  invoke row(a.view(40)[y * 10], b.view(32)[y * 8])
}
"""
    )
    assert (
        print_function(after.micros[0])
        == """\
function row {
  about "Loop x of window."
  input a: int8[10]
  output b: int32[8]
  for x in 0..8 parallel {
    b[x] = int32(a[x]) - int32(a[x + 2])
  }
}
"""
    )


REFUSED: list[tuple[str, Steps, str]] = [
    (
        DENSE,
        lambda s: s.fuse("c", "r"),
        "dense: loops c, r: only a perfect nest can be fused; expected r alone in c; "
        "found Alloc, Store, loop r, Store",
    ),
    (
        ADD,
        lambda s: s.split("x", 2).fuse("y", "x"),
        "add: loops y, x: only loops from 0 in steps of 1 are fused; found x in steps of 2; "
        "hint: fuse first, split then",
    ),
    (
        DENSE,
        lambda s: s.vectorize("r"),
        "dense: loop r: only a parallel loop in steps of 1 runs in words; "
        "found in order, steps of 1",
    ),
    (
        ADD,
        lambda s: s.vectorize("y"),
        "add: loop y: only stores are computed in words; expected stores alone; found loop x; "
        "hint: vectorize the innermost loop",
    ),
    (
        WINDOW,
        lambda s: s.vectorize("x"),
        "window: loop x: a word holds integers of 8 or 16 bits, all of one size; found int32",
    ),
    (
        ADD.replace("8]", "10]").replace("0..8", "0..10"),
        lambda s: s.vectorize("x"),
        "add: loop x: the loop is no whole number of words; expected a multiple of 4; found 10; "
        "hint: split it by a multiple of 4 first; the rest is a loop of its own",
    ),
    (
        DENSE,
        lambda s: s.tensorize("r", "smlad"),
        "dense: loop r: the loop is not what smlad does; expected 2 rounds from 0; found 8; "
        "hint: split the loop by 2 first",
    ),
    (
        DENSE,
        lambda s: s.split("r", 2).tensorize("r_i", "smlad"),
        "dense: loop r_i: the loop is not what smlad does; "
        "expected acc[0] + int32(a[k]) * int32(b[k]); "
        "found acc[] + int32(x[r + r_i]) * int32(w[c, r + r_i])",
    ),
    (
        DENSE,
        lambda s: s.cache_read("x", "c", DType.UINT8),
        "dense: loop c: the cache's type does not hold all values; expected int8 or wider; "
        "found uint8",
    ),
    (
        DENSE,
        lambda s: s.cache_read("z", "c"),
        "dense: no such buffer; expected x, w; found z",
    ),
    (
        DENSE,
        lambda s: s.cache_read("x", "q"),
        "dense: no such loop; expected c, r; found q",
    ),
    (
        WINDOW.replace("for x in 0..8 parallel {", "for x in 0..4 parallel {").replace(
            "b[y, x]", "b[y, x * 2]"
        ),
        lambda s: s.cache_write("b", "y"),
        "window: loop y: an iteration does not surely write all of its part; "
        "expected 7 elements; found 4; "
        "hint: cache at an outer loop, or where no condition is around the store",
    ),
    (
        DENSE,
        lambda s: s.transform_layout("w", "OI", "IO2c"),
        "dense: w: the layouts do not fit; expected 2 capital letters, and a word of the same "
        "with numbered small ones; found OI -> IO2c",
    ),
    (
        DENSE,
        lambda s: s.transform_layout("w", "OI", "OI3o"),
        "dense: w: the index has no whole part; expected a multiple of 3, and less than that "
        "added; found c; hint: split its loop by 3 first",
    ),
    (
        DENSE,
        lambda s: s.outline("r", "dot"),
        "dense: loop r: the loop cannot be cut out; "
        "expected addresses that are linear, and no register of the kernel; found acc",
    ),
    (
        ADD.replace("int32(b[y, x])", "y"),
        lambda s: s.outline("x", "row"),
        "add: loop x: the loop computes with what is outside of it; "
        "expected variables of its own; found y",
    ),
    (
        DENSE,
        lambda s: s.transform_layout("x", "I", "I"),
        "dense: x: no such constant; expected w; found x",
    ),
]


@pytest.mark.parametrize(("text", "steps", "message"), REFUSED)
def test_refused(text: str, steps: Steps, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        steps(Schedule(parse_function(text), {"w": np.zeros((4, 8), np.int8)}))
    assert str(caught.value) == message


def test_tensorize_refuses_words_beyond_the_buffer() -> None:
    text = """function odd {
  input a: int8[7]
  output b: int16[4]
  for x in 0..2 parallel {
    for k in 0..2 parallel {
      b[x * 2 + k] = int16(a[x * 4 + k * 2])
    }
  }
}
"""
    with pytest.raises(ScheduleError, match="a word reaches beyond the buffer; expected 4 elem"):
        Schedule(parse_function(text)).tensorize("k", "sxtb16")
    scheduled(text.replace("a: int8[7]", "a: int8[8]"), lambda s: s.tensorize("k", "sxtb16"))


def test_a_schedule_prints_its_steps_and_its_nest() -> None:
    schedule = scheduled(ADD, lambda s: s.split("x", 4).unroll("x_i"))
    assert schedule.steps[0].arguments == ("x", 4)
    steps, _, nest = str(schedule).partition("\n\n")
    assert steps == 'split("x", 4)\nunroll("x_i")'
    assert nest == print_function(schedule.function)
    (first, split_nest), _ = replay(parse_function(ADD), schedule.steps)
    assert first == 'split("x", 4)'
    assert "for x_i in 0..4 parallel" in print_function(split_nest)
    cached = scheduled(DENSE, lambda s: s.cache_read("x", "c", DType.INT16))
    assert str(cached.steps[0]) == 'cache_read("x", "c", int16)'
