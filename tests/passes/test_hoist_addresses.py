"""hoist-addresses: pointers in front of innermost loops, shared by accesses a constant apart."""

from __future__ import annotations

from tests.passes.text import function_after, lines
from utvm.passes.hoist_addresses import hoist_addresses

BLOCK = """function f {
  input x: int8[4,8]
  const w: int8[2,8]
  output y: int32[4,2]
  for i in 0..4 parallel {
    alloc acc_0: int32[]
    alloc acc_1: int32[]
    acc_0[] = 0
    acc_1[] = 0
    for r in 0..8 {
      acc_0[] = acc_0[] + int32(x[i, r]) * int32(w[0, r])
      acc_1[] = acc_1[] + int32(x[i, r]) * int32(w[1, r])
    }
    y[i, 0] = acc_0[]
    y[i, 1] = acc_1[]
  }
}
"""


def test_addresses_are_made_before_the_innermost_loop() -> None:
    after = function_after(BLOCK, hoist_addresses)
    assert lines(after, "view", "for", "acc_0[] = acc", "acc_1[] = acc") == [
        "for i in 0..4 parallel {",
        "view p0: int8[32] = x.view(32)[i * 8]",
        "view p1: int8[16] = w.view(16)[0]",
        "for r in 0..8 {",
        "acc_0[] = acc_0[] + int32(p0[r]) * int32(p1[r])",
        "acc_1[] = acc_1[] + int32(p0[r]) * int32(p1[r + 8])",
    ]


def test_a_loop_that_starts_later_points_to_its_first_element() -> None:
    text = """function f {
  input x: int8[8]
  output y: int8[8]
  for i in 2..8 parallel {
    y[i] = x[i - 2]
  }
  y[0] = 0i8
  y[1] = 0i8
}
"""
    assert lines(function_after(text, hoist_addresses), "view", "p1") == [
        "view p0: int8[8] = x[0]",
        "view p1: int8[8] = y[2]",
        "p1[i - 2] = p0[i - 2]",
    ]


def test_pointers_avoid_names_that_are_taken() -> None:
    text = BLOCK.replace("acc_0", "p0")
    assert lines(function_after(text, hoist_addresses), "view p1", "view p2") == [
        "view p1: int8[32] = x.view(32)[i * 8]",
        "view p2: int8[16] = w.view(16)[0]",
    ]


def test_data_dependent_addresses_stay() -> None:
    text = """function f {
  input x: uint8[4]
  const table: int8[256]
  output y: int8[4]
  for i in 0..4 parallel {
    y[i] = table[int32(x[i])]
  }
}
"""
    assert lines(function_after(text, hoist_addresses), "p1") == ["p1[i] = table[int32(p0[i])]"]


def test_loads_that_are_made_only_sometimes_make_no_pointer() -> None:
    """In front of an array there is nothing to point to."""
    text = """function f {
  input x: int8[8]
  output y: int8[9]
  for i in 0..9 parallel {
    y[i] = select(i > 0, x[i - 1], 0i8)
  }
}
"""
    assert lines(function_after(text, hoist_addresses), "view", "p0") == [
        "view p0: int8[9] = y[0]",
        "p0[i] = select(i > 0, x[i - 1], 0i8)",
    ]


def test_loads_that_are_made_only_sometimes_share_a_pointer_that_is_there() -> None:
    text = """function f {
  input x: int8[9]
  output y: int8[9]
  for i in 0..9 parallel {
    y[i] = select(i > 0, x[i - 1], 0i8) + x[i]
  }
}
"""
    assert lines(function_after(text, hoist_addresses), "view", "p0", "p1") == [
        "view p0: int8[9] = x[0]",
        "view p1: int8[9] = y[0]",
        "p1[i] = select(i > 0, p0[i - 1], 0i8) + p0[i]",
    ]
