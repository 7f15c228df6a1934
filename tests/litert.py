"""Runs a TFLite model on the reference kernels of LiteRT: what integer results must equal.

In: the bytes of a model and one array per input; out: one array per output, both in the model's
order. A test that calls this skips where the ``oracle`` extra is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]


def run_litert(model: bytes, inputs: Sequence[npt.ArrayLike]) -> list[Array]:
    """One invocation of ``model``; inputs are cast to the types that it declares."""
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="needs the oracle extra: ai-edge-litert"
    )
    interpreter = litert.Interpreter(
        model_content=model,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    assert len(details) == len(inputs), f"the model has {len(details)} inputs"
    for detail, array in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], np.asarray(array, dtype=detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
