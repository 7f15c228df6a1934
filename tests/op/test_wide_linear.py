"""The rescale behind int16 activations as one high product: equal to the wide one on any int32.

Multipliers and shifts are random, as are accumulators; the greatest and least are among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.fixed_point import multiply_by_quantized_multiplier_wide
from utvm.op.quantize_conv import ConvParams
from utvm.op.quantized_linear import emit_wide_linear
from utvm.op.registry import find_op

CHANNELS, ROWS = 6, 4000


def emitted(shifts: tuple[int, ...], multipliers: tuple[int, ...], most: int) -> Any:
    """The node behind an accumulator of at most ``most``, with its constants; None without one."""
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((ROWS, len(shifts)), DType.INT32))
    p = ConvParams(0, 0, multipliers, shifts, 0, -32768, 32767, True)
    bound = np.full(len(shifts), most, np.int64)
    result = emit_wide_linear(b, x, p, (-bound, bound))
    if result is None:
        return None
    b.output(result)
    graph = b.build()
    node = graph.nodes[-1]
    return node, [graph.constants[name] for name in node.inputs[1:]]


@pytest.mark.parametrize("seed", range(8))
def test_wide_rescale_as_high_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shifts = tuple(int(s) for s in rng.integers(-14, 1, CHANNELS))
    multipliers = tuple(int(m) for m in rng.integers(1 << 30, 1 << 31, CHANNELS))
    most = (1 << 29) - 1
    x = rng.integers(-most, most + 1, (ROWS, CHANNELS))
    x[: ROWS // 2] >>= rng.integers(0, 29, (ROWS // 2, CHANNELS))
    x[0], x[1] = -most, most
    node, constants = emitted(shifts, multipliers, most)
    (found,) = find_op(node.op).reference((x.astype(np.int32), *constants), node.attrs)
    wide = multiply_by_quantized_multiplier_wide(x, np.array(multipliers), np.array(shifts))
    np.testing.assert_array_equal(found, np.clip(wide, -32768, 32767).astype(np.int16))


def test_large_accumulators_and_factors_keep_the_wide_rescale() -> None:
    assert emitted((3,), (1 << 30,), (1 << 29) - 1) is None
