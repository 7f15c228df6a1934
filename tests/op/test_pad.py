"""pad: compiled TFLite operators equal LiteRT, plain ones the reference; no element asks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import Array, add_tensor, random_quant
from tests.op.single_op_models import Model, check_models, data_of
from tests.tflite_builder import ModelBuilder
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.loop import If, Select
from utvm.ir.rewrite import expressions, statements
from utvm.op.pad import PadAttrs
from utvm.support.errors import ModelError
from utvm.target.target import load_target

I8, U8, I16, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32
# Shape, before, after.
CASES = [
    ((1, 4, 5, 3), (0, 1, 2, 0), (0, 2, 0, 0)),
    ((2, 3), (1, 2), (0, 1)),
    ((5,), (2,), (3,)),
    ((1, 3, 4, 2), (0, 0, 0, 1), (0, 0, 0, 1)),
    ((2, 3, 4), (0, 1, 0), (0, 0, 0)),
    ((2, 2, 3, 2), (1, 1, 1, 1), (1, 0, 2, 1)),
    ((1, 1, 1), (0, 0, 0), (0, 0, 0)),
]


def pad_model(
    rng: np.random.Generator,
    kind: str,
    dtype: DType,
    geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    mode: str | None = None,
) -> Model:
    shape, before, after = geometry
    quant = None if dtype in (F32, DType.INT32, DType.INT64) else random_quant(rng, dtype)
    data = data_of(rng, dtype, shape)
    builder = ModelBuilder()
    x = add_tensor(builder, quant, data, False)
    borders = np.array([before, after], np.int32).T
    operands = [x, add_tensor(builder, None, borders, True)]
    if kind == "PADV2":
        operands.append(add_tensor(builder, quant, data_of(rng, dtype, (1,)), True))
    result_shape = tuple(np.add(np.add(before, shape), after))
    out = add_tensor(builder, quant, np.zeros(result_shape, data.dtype), False)
    options = {} if mode is None else {"mode": mode}
    builder.op(kind, operands, [out], version=2 if kind != "MIRROR_PAD" else 1, **options)
    return Model(builder.build([x], [out]), (data,), f"{kind} {dtype} {geometry} {mode}")


@pytest.mark.parametrize("kind", ["PAD", "PADV2"])
def test_constant_borders_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(151)
    dtypes = [I8, U8, I16, F32, DType.INT32, DType.INT64]
    check_models([pad_model(rng, kind, dtype, case) for dtype in dtypes for case in CASES])


def mirrored_cases(mode: str) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Those whose borders are no wider than the tensor, up to the widest."""
    edge = mode == "REFLECT"
    cases = [((1, 4, 5, 3), (0, 3, 2, 0), (0, 3, 0, 0)), ((2, 3), (0, 2), (1, 1))]
    return [*cases, *(c for c in CASES if all(
        max(b, a) <= n - edge for n, b, a in zip(*c, strict=True)
    ))]  # fmt: skip


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
def test_mirrored_borders_equal_litert(mode: str) -> None:
    rng = np.random.default_rng(152)
    check_models([
        pad_model(rng, "MIRROR_PAD", dtype, case, mode)
        for dtype in (I8, U8, F32)
        for case in mirrored_cases(mode)
    ])  # fmt: skip


def plain_cases(rng: np.random.Generator) -> list[Plain]:
    def x(shape: tuple[int, ...], dtype: DType = I8) -> list[Array]:
        return [data_of(rng, dtype, shape)]

    cases = [Plain("pad", x(s), PadAttrs(b, a, value=-7)) for s, b, a in CASES]
    cases += [Plain("pad", x(s, F32), PadAttrs(b, a, value=0.5)) for s, b, a in CASES]
    for mode in ("reflect", "symmetric"):
        cases += [Plain("pad", x(s), PadAttrs(b, a, mode)) for s, b, a in
                  mirrored_cases(mode.upper())]  # fmt: skip
    return cases


def test_plain_numbers_equal_the_reference() -> None:
    check_plain(plain_cases(np.random.default_rng(153)))


def test_no_element_asks_where_it_lies() -> None:
    for case in plain_cases(np.random.default_rng(154)):
        module = compile_graph(case.graph(), load_target("cortex-m4")).module
        for function in module.functions:
            assert not any(isinstance(s, If) for s in statements(function.body))
            assert not any(isinstance(e, Select) for e in expressions(function.body))


def test_misfits_are_refused() -> None:
    x = np.zeros((2, 3), np.int8)
    for attrs, text in (
        (PadAttrs((1,), (1,)), "one entry per axis"),
        (PadAttrs((0, -1), (0, 0)), "padding is not negative"),
        (PadAttrs((0, 3), (0, 0), "reflect"), "a mirrored border exceeds the tensor"),
        (PadAttrs((0, 4), (0, 0), "symmetric"), "a mirrored border exceeds the tensor"),
        (PadAttrs((0, 0), (0, 0), "wrap"), "unknown mode"),
    ):
        with pytest.raises(ModelError, match=text):
            Plain("pad", [x], attrs).graph()
