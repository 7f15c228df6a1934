"""Plain operators with random operands: what the compiled C computes equals the NumPy reference.

``plain`` describes one node, ``check_plain`` compiles all of them into one native program (or one
for an emulated core) and compares: integers to the bit, floats within 1e-5 relative and 1e-6
absolute. Operands marked constant are known to the compiler, the others are inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.compiled import Array, run_graphs
from utvm.ir.dtype import dtype_of
from utvm.ir.graph import Attrs, Graph, TensorType
from utvm.op.base import NoAttrs
from utvm.op.builder import GraphBuilder
from utvm.op.registry import find_op

RELATIVE, ABSOLUTE = 1e-5, 1e-6


@dataclass(frozen=True)
class Plain:
    """One operator, its operands, and which of them are constants."""

    op: str
    operands: Sequence[Array]
    attrs: Attrs = field(default_factory=NoAttrs)
    constant: Collection[int] = ()

    def graph(self) -> Graph:
        b = GraphBuilder(self.op, find_op)
        names = [
            b.constant(array)
            if i in self.constant
            else b.input(f"x{i}", TensorType(array.shape, dtype_of(array)))
            for i, array in enumerate(self.operands)
        ]
        for result in b.emit_many(self.op, names, self.attrs):
            b.output(result)
        return b.build()

    def inputs(self) -> list[Array]:
        return [array for i, array in enumerate(self.operands) if i not in self.constant]

    def expected(self) -> tuple[Array, ...]:
        reference = find_op(self.op).reference
        assert reference is not None, self.op
        return reference(self.operands, self.attrs)


def check_plain(cases: Sequence[Plain], target: str = "host") -> None:
    """Compares every compiled case with its reference."""
    results = run_graphs([(case.graph(), case.inputs()) for case in cases], target)
    for case, outputs in zip(cases, results, strict=True):
        note = f"{case.op} {case.attrs} {[array.shape for array in case.operands]}"
        for found, expected in zip(outputs, case.expected(), strict=True):
            assert found.dtype == expected.dtype and found.shape == expected.shape, note
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(found, expected, RELATIVE, ABSOLUTE, err_msg=note)
            else:
                np.testing.assert_array_equal(found, expected, note)
