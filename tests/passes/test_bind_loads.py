"""bind-loads: an element that register code reads several times is loaded once."""

from __future__ import annotations

from tests.passes.text import function_after, lines
from utvm.passes.bind_loads import bind_loads

BLOCK = """function f {
  input x: int8[8]
  const w: int8[2,8]
  output y: int32[2]
  alloc acc_0: int32[]
  alloc acc_1: int32[]
  acc_0[] = 0
  acc_1[] = 0
  for r in 0..8 {
    acc_0[] = acc_0[] + int32(x[r]) * int32(w[0, r])
    acc_1[] = acc_1[] + int32(x[r]) * int32(w[1, r])
  }
  y[0] = acc_0[]
  y[1] = acc_1[]
}
"""


def test_the_shared_operand_gets_a_name() -> None:
    assert lines(function_after(BLOCK, bind_loads), "let", "acc_0[] = acc", "acc_1[] = acc") == [
        "let a0: int32 = int32(x[r])",
        "acc_0[] = acc_0[] + a0 * int32(w[0, r])",
        "acc_1[] = acc_1[] + a0 * int32(w[1, r])",
    ]


def test_a_single_use_stays() -> None:
    text = BLOCK.replace("    acc_1[] = acc_1[] + int32(x[r]) * int32(w[1, r])\n", "")
    assert function_after(text, bind_loads) == text


def test_a_store_to_memory_between_ends_the_run() -> None:
    text = """function f {
  workspace w: int32[2]
  output y: int32[2]
  alloc a: int32[]
  w[0] = 1
  a[] = w[0]
  w[0] = 2
  a[] = a[] + w[0]
  y[0] = a[]
  y[1] = a[]
}
"""
    assert function_after(text, bind_loads) == text
