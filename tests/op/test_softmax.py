"""softmax: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_models
from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import random_data
from tests.op.single_op_models import Model, check_models, op_model
from utvm.ir.dtype import DType
from utvm.op.quantize_params import Quant
from utvm.op.softmax import SoftmaxAttrs
from utvm.op.softmax_table import SoftmaxTableAttrs
from utvm.support.errors import ModelError

I8, U8, I16, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32
OUTPUTS = {
    I8: Quant(1 / 256, -128, I8),
    U8: Quant(1 / 256, 0, U8),
    I16: Quant(1 / 32768, 0, I16),
}
SHAPES = [(1, 10), (4, 1), (2, 3, 7), (5,), (1, 300), (1, 2, 3, 4)]
PAIRS = [(I8, I8), (U8, U8), (I16, I16), (I8, I16), (U8, I16)]


def softmax_model(
    rng: np.random.Generator,
    dtype: DType,
    out: DType,
    shape: tuple[int, ...],
    scale: float,
    beta: float,
) -> Model:
    if dtype is F32:
        data = (rng.normal(0, 1, shape) / scale).astype(np.float32)
        return op_model("SOFTMAX", [data], [None], shape, None, beta=beta)
    zero = 0 if dtype is I16 else 5
    return op_model(
        "SOFTMAX",
        [random_data(rng, dtype, shape)],
        [Quant(scale, zero, dtype)],
        shape,
        OUTPUTS[out],
        out_dtype=out.numpy,
        version=3 if I16 in (dtype, out) else 2,
        beta=beta,
    )


@pytest.mark.parametrize("target", ["host", "cortex-m0plus", "cortex-m4"])
def test_models_equal_litert(target: str) -> None:
    rng = np.random.default_rng(81)
    models = []
    for dtype, out in [*PAIRS, (F32, F32)]:
        base = 1e-4 if dtype is I16 else 0.05
        for number, shape in enumerate(SHAPES):
            scale = base * float(rng.uniform(0.1, 4))
            models.append(softmax_model(rng, dtype, out, shape, scale, (1.0, 0.5, 3.0)[number % 3]))
    check_models(models, target)


def test_rows_of_equal_numbers_vanish_when_they_are_long() -> None:
    """Above 512 equal numbers the sum needs a shift that the reference kernel cannot do."""
    x = np.zeros((1, 5000), np.int8)
    model = op_model("SOFTMAX", [x], [Quant(0.1, 0, I8)], x.shape, OUTPUTS[I8])
    ((found,),) = run_models([(model.data, model.inputs)])
    assert (found == -128).all()


def test_plain_floats_equal_the_reference() -> None:
    rng = np.random.default_rng(82)
    x = rng.normal(0, 20, (3, 9)).astype(np.float32)
    huge = np.array([[-3e38, 3e38, 0.0], [-np.inf, 1.0, 1.0]], np.float32)
    cases = [Plain("softmax", [v], SoftmaxAttrs(beta)) for v in (x, huge) for beta in (1.0, 0.25)]
    check_plain(cases)


def test_plain_tables_equal_the_reference() -> None:
    """Any table is legal, not only that of exp."""
    rng = np.random.default_rng(83)
    table = np.sort(rng.integers(0, 1 << 31, 256))[::-1].astype(np.int32)
    table[0] = (1 << 31) - 1
    cases = [
        Plain("softmax_table", [random_data(rng, d, (4, 11)), table], SoftmaxTableAttrs(out), [1])
        for d in (I8, U8)
        for out in ("int8", "uint8", "int16")
    ]
    check_plain(cases)


def test_a_scalar_is_refused() -> None:
    with pytest.raises(ModelError, match="softmax needs an axis"):
        Plain("softmax", [np.zeros((), np.float32)], SoftmaxAttrs()).graph()
