"""Schedule primitives: text in, text out, and the texts of what they refuse.

The functions here are written by hand in the loop IR's text form. Each result is verified and, on
random data, computes what the unscheduled function computes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.loop_interpreter import run_function
from utvm.ir.loop import Function
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_loop import print_function
from utvm.ir.verify_loop import verify_function
from utvm.schedule.compute_at import compute_at
from utvm.schedule.fuse import fuse
from utvm.schedule.partition import hoist_condition, partition
from utvm.schedule.primitives import reorder, split, unroll, unroll_jam
from utvm.support.errors import ScheduleError

Schedule = Callable[[Function], Function]

COPY = """function copy {
  input a: int8[10]
  output b: int8[10]
  for x in 0..10 parallel {
    b[x] = a[x]
  }
}
"""

NEST = """function nest {
  input a: int8[4,6]
  output b: int8[4,6]
  for y in 0..4 parallel {
    for x in 0..6 parallel {
      b[y, x] = a[y, x]
    }
  }
}
"""

DENSE = """function dense {
  input x: int8[3]
  const w: int8[4,3]
  output y: int32[4]
  for c in 0..4 parallel {
    alloc acc: int32[]
    acc[] = 0
    for r in 0..3 {
      acc[] = acc[] + int32(x[r]) * int32(w[c, r])
    }
    let v0: int32 = acc[] + 1
    y[c] = v0
  }
}
"""

PAD = """function pad {
  input a: int8[3,4]
  output b: int8[5,6]
  for y in 0..5 parallel {
    for x in 0..6 parallel {
      b[y, x] = select(y >= 1 and y < 4 and x >= 1 and x < 5, a[y - 1, x - 1], 0i8)
    }
  }
}
"""

SIGN = """function sign {
  input a: int8[4]
  output b: int8[4]
  for x in 0..4 parallel {
    let v: int8 = a[x]
    b[x] = select(v < 0i8, -1i8, 1i8)
  }
}
"""

WAVE = """function wave {
  input a: int8[4,6]
  output b: int8[4,6]
  for i in 0..24 parallel {
    b.view(24)[i] = a.view(24)[i]
  }
  for y in 1..4 {
    for x in 1..5 {
      b[y, x] = b[y - 1, x + 1]
    }
  }
}
"""

LINES = """function lines {
  input a: int8[6,4]
  workspace rows: int8[6,4]
  output b: int32[4,4]
  for i in 0..6 parallel {
    for j in 0..4 parallel {
      rows[i, j] = a[i, j]
    }
  }
  for y in 0..4 parallel {
    for x in 0..4 parallel {
      b[y, x] = int32(rows[y, x]) + int32(rows[y + 2, x])
    }
  }
}
"""


def scheduled(text: str, schedule: Schedule) -> str:
    """The text of the scheduled function, verified and compared with the unscheduled one."""
    before = parse_function(text)
    verify_function(before)
    after = schedule(before)
    verify_function(after)
    generator = np.random.default_rng(0)
    arrays = {
        buffer.name: generator.integers(-128, 128, buffer.shape, dtype=np.int8)
        for buffer in (*before.inputs, *before.constants)
    }
    expected, found = run_function(before, arrays), run_function(after, arrays)
    for name, data in expected.items():
        np.testing.assert_array_equal(found[name], data)
    result = print_function(after)
    assert parse_function(result) == after
    return result


def body_of(text: str) -> str:
    """The statements, without the declarations and two columns to the left."""
    lines = text.splitlines()[1:-1]
    roles = ("  input", "  output", "  const", "  workspace")
    return "\n".join(line[2:] for line in lines if not line.startswith(roles)) + "\n"


def test_split_leaves_a_tail() -> None:
    assert (
        body_of(scheduled(COPY, lambda f: split(f, "x", 4)))
        == """\
for x in 0..8 step 4 parallel {
  for x_i in 0..4 parallel {
    b[x + x_i] = a[x + x_i]
  }
}
for x_t in 8..10 parallel {
  b[x_t] = a[x_t]
}
"""
    )


def test_split_without_a_tail() -> None:
    assert "x_t" not in scheduled(COPY, lambda f: split(f, "x", 5))


def test_split_larger_than_the_loop_is_all_tail() -> None:
    assert "for x_t in 0..10" in scheduled(COPY, lambda f: split(f, "x", 11))


def test_reorder_exchanges_loops() -> None:
    assert (
        body_of(scheduled(NEST, lambda f: reorder(f, "y", "x")))
        == """\
for x in 0..6 parallel {
  for y in 0..4 parallel {
    b[y, x] = a[y, x]
  }
}
"""
    )


def test_unroll_repeats_the_body() -> None:
    assert (
        body_of(scheduled(DENSE, lambda f: unroll(f, "r")))
        == """\
for c in 0..4 parallel {
  alloc acc: int32[]
  acc[] = 0
  acc[] = acc[] + int32(x[0]) * int32(w[c, 0])
  acc[] = acc[] + int32(x[1]) * int32(w[c, 1])
  acc[] = acc[] + int32(x[2]) * int32(w[c, 2])
  let v0: int32 = acc[] + 1
  y[c] = v0
}
"""
    )


def test_unroll_jam_makes_register_blocks() -> None:
    def schedule(function: Function) -> Function:
        return unroll_jam(split(function, "c", 2), "c_i")

    assert (
        body_of(scheduled(DENSE, schedule))
        == """\
for c in 0..4 step 2 parallel {
  alloc acc_0: int32[]
  alloc acc_1: int32[]
  acc_0[] = 0
  acc_1[] = 0
  for r in 0..3 {
    acc_0[] = acc_0[] + int32(x[r]) * int32(w[c, r])
    acc_1[] = acc_1[] + int32(x[r]) * int32(w[c + 1, r])
  }
  let v0_0: int32 = acc_0[] + 1
  let v0_1: int32 = acc_1[] + 1
  y[c] = v0_0
  y[c + 1] = v0_1
}
"""
    )


def test_hoist_condition_asks_once_per_loop() -> None:
    assert (
        body_of(scheduled(PAD, lambda f: hoist_condition(f, "x")))
        == """\
for y in 0..5 parallel {
  if y >= 1 and y < 4 {
    for x in 0..6 parallel {
      b[y, x] = select(x >= 1 and x < 5, a[y - 1, x - 1], 0i8)
    }
  } else {
    for x in 0..6 parallel {
      b[y, x] = 0i8
    }
  }
}
"""
    )


def test_partition_cuts_where_conditions_change() -> None:
    def schedule(function: Function) -> Function:
        return partition(hoist_condition(function, "x"), "x")

    assert (
        body_of(scheduled(PAD, schedule))
        == """\
for y in 0..5 parallel {
  if y >= 1 and y < 4 {
    b[y, 0] = 0i8
    for x in 1..5 parallel {
      b[y, x] = a[y - 1, x - 1]
    }
    b[y, 5] = 0i8
  } else {
    for x in 0..6 parallel {
      b[y, x] = 0i8
    }
  }
}
"""
    )


def test_conditions_on_values_of_the_loop_stay() -> None:
    assert scheduled(SIGN, lambda f: hoist_condition(f, "x")) == SIGN
    assert scheduled(SIGN, lambda f: partition(f, "x")) == SIGN


def test_compute_at_shrinks_the_buffer_to_what_one_iteration_reads() -> None:
    text = scheduled(LINES, lambda f: compute_at(f, "rows", "y"))
    assert "workspace rows: int8[3,4]" in text
    assert (
        body_of(text)
        == """\
for y in 0..4 {
  for i in 0..3 parallel {
    for j in 0..4 parallel {
      rows[i, j] = a[i + y, j]
    }
  }
  for x in 0..4 parallel {
    b[y, x] = int32(rows[0, x]) + int32(rows[2, x])
  }
}
"""
    )


def test_loops_that_share_the_buffer_are_parallel_no_longer() -> None:
    text = body_of(scheduled(LINES, lambda f: compute_at(f, "rows", "x")))
    assert "for y in 0..4 {" in text
    assert "for x in 0..4 {" in text


REFUSED: list[tuple[str, Schedule, str]] = [
    (
        COPY,
        lambda f: split(f, "x", 0),
        "copy: loop x: a loop is split by a positive factor; expected 1 or more; found 0",
    ),
    (COPY, lambda f: split(f, "z", 2), "copy: no such loop; expected x; found z"),
    (
        COPY,
        lambda f: split(split(f, "x", 4), "x", 2),
        "copy: the loop is split already; found x; hint: split x_i, or by the product at once",
    ),
    (
        COPY,
        lambda f: split(split(f, "x", 1), "x", 1),
        "copy: the loop is split already; found x; hint: split x_i, or by the product at once",
    ),
    (
        COPY,
        lambda f: partition(split(f, "x", 4), "x"),
        "copy: a split loop cannot be partitioned; found x; hint: partition first",
    ),
    (
        NEST,
        lambda f: reorder(f, "x", "y"),
        "nest: loops x, y: the loops are not directly nested; expected y alone in x; found Store",
    ),
    (
        DENSE,
        lambda f: reorder(f, "c", "r"),
        "dense: loops c, r: the loops are not directly nested; "
        "expected r alone in c; "
        "found Alloc, Store, loop r, Let, Store",
    ),
    (
        DENSE,
        lambda f: unroll_jam(f, "r"),
        "dense: only a parallel loop can be jammed; found r; "
        "hint: unroll keeps the order of iterations",
    ),
    (
        LINES,
        lambda f: compute_at(fuse(f, "y", "x"), "rows", "y_x"),
        "lines: loop y_x: the loop reads the buffer in another shape than it is filled in; "
        "expected (6, 4); found (24,); hint: compute_at first, fuse then",
    ),
    (LINES, lambda f: compute_at(f, "x", "y"), "lines: one nest must fill the buffer; found x"),
    (LINES, lambda f: compute_at(f, "rows", "i"), "lines: no such loop; expected y, x; found i"),
]


@pytest.mark.parametrize(("text", "schedule", "message"), REFUSED)
def test_refused(text: str, schedule: Schedule, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        schedule(parse_function(text))
    assert str(caught.value) == message


def test_reorder_moves_a_sum_but_no_dependence() -> None:
    sequential = NEST.replace("for y in 0..4 parallel", "for y in 0..4")
    assert "for x in 0..6 parallel" in scheduled(sequential, lambda f: reorder(f, "y", "x"))
    with pytest.raises(ScheduleError) as caught:
        reorder(parse_function(WAVE), "y", "x")
    assert str(caught.value) == (
        "wave: loops y, x: the loops cannot be exchanged; "
        "found iterations depend on each other through b"
    )
    same_way = WAVE.replace("b[y - 1, x + 1]", "b[y - 1, x - 1]")
    assert "for x in 1..5 {" in scheduled(same_way, lambda f: reorder(f, "y", "x"))
