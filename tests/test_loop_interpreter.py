"""The interpreter that tests trust refuses what no schedule may do.

One mistake each: an index outside of its buffer, an element that nobody wrote, a sum that
overflows, a micro function that reads beyond what it was given.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.loop_interpreter import run_function
from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Expr, Function, Imm, Invoke, Load, Pointer, Store, Var, loop

X = Buffer("x", DType.INT32, (2, 3), "input")
FLAT = Buffer("x", DType.INT32, (4,), "input")
OUT = Buffer("out", DType.INT32, (2,), "output")
ROW = Var("i")
VALUES = {"x": np.arange(6, dtype=np.int32).reshape(2, 3)}


def computed(value: Expr, extent: int = 2) -> list[int]:
    """``out[i] = value`` for i below ``extent``."""
    function = Function("f", (X,), (OUT,), (loop(ROW, extent, Store(OUT, (ROW,), value)),))
    found: list[int] = run_function(function, VALUES)["out"].tolist()
    return found


def test_loops_run() -> None:
    assert computed(Load(X, (ROW, ROW + 1)) * 10 - 1) == [9, 49]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Load(X, (Imm(0), ROW + 2)), "x: index 3 of 3"),
        (Load(X, (Imm(1), ROW + 2), 2), "x: index 3 of 3|a word at 5"),
        (Load(X, (ROW - 1, Imm(0))), "x: index -1 of 2"),
        (Load(OUT, (Imm(1),)), "element 1 was never written"),
        (Load(X, (ROW, ROW)) + (2**31 - 1), "2147483651 is no int32"),
    ],
)
def test_mistakes_are_told(value: Expr, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        computed(value)


def test_an_output_is_written_in_full() -> None:
    with pytest.raises(AssertionError, match="out is not written in full"):
        computed(Imm(1), extent=1)


def test_a_micro_function_stays_within_memory() -> None:
    micro = Function("m", (FLAT,), (OUT,), (Store(OUT, (Imm(0),), Load(FLAT, (Imm(3),))),))

    def run(first: int) -> list[int]:
        places = (Pointer(X, Imm(first)), Pointer(OUT, ROW))
        body = (loop(ROW, 2, Invoke("m", places)),)
        kernel = Function("f", (X,), (OUT,), body)
        found: list[int] = run_function(kernel, VALUES, micros=[micro])["out"].tolist()
        return found

    assert run(2) == [5, 5]
    with pytest.raises(AssertionError, match="x: offset 6"):
        run(3)
