"""Mutated models: whatever the bytes, the importer gives a graph or one UtvmError, and soon.

Small models of every operator are damaged byte by byte, cut, or have their 32-bit numbers replaced
by extreme ones. Memory is watched, so that a forged size cannot make the importer allocate it. The
same examples are tried in every run; for a longer one, raise ``EXAMPLES``.
"""

from __future__ import annotations

import struct
import tracemalloc
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tflite_cases import CASES, QUANTIZABLE, float_model, quantized_model
from utvm.importers.tflite import import_tflite, list_operators
from utvm.op.registry import find_op
from utvm.support.errors import UtvmError

EXAMPLES = 2000
# Models are a few kB; what the importer holds must stay in proportion.
MEMORY_LIMIT_BYTES = 32 * 2**20
EXTREMES = (0, 1, 2, 4, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FC00000)


@cache
def seeds() -> tuple[bytes, ...]:
    """One float model for every operator, and an int8 one where there is one."""
    models = [float_model(case)[0] for case in CASES]
    models += [quantized_model(case, "int8").model for case in QUANTIZABLE]
    return tuple(models)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A model with a few bytes or words replaced, sometimes cut or with a part doubled."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 4))
        kind = draw(st.sampled_from(("byte", "word", "near", "copy")))
        if kind == "byte":
            data[at] = draw(st.integers(0, 255))
            continue
        at -= at % 4
        (word,) = struct.unpack_from("<I", data, at)
        if kind == "word":
            word = draw(st.sampled_from(EXTREMES))
        elif kind == "near":
            word = (word + draw(st.integers(-8, 8))) % 2**32
        else:
            source = draw(st.integers(0, len(data) // 4 - 1)) * 4
            (word,) = struct.unpack_from("<I", data, source)
        struct.pack_into("<I", data, at, word)
    cut = draw(st.sampled_from((0, 0, 0, 1)))
    return bytes(data[: draw(st.integers(0, len(data)))] if cut else data)


def survives(data: bytes) -> None:
    """Imports and lists; anything but a UtvmError comes out and fails the test."""
    for step in (
        lambda: import_tflite(data, name="net", find_op=find_op),
        lambda: list_operators(data, find_op=find_op),
    ):
        try:
            step()
        except UtvmError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 2000


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
@given(damaged())
def test_damaged_models_give_one_clear_error(data: bytes) -> None:
    survives(data)


@pytest.mark.parametrize("position", range(0, 12))
def test_extreme_words_everywhere_stay_within_memory(position: int) -> None:
    model = seeds()[position * 5 % len(seeds())]
    tracemalloc.start()
    try:
        for at in range(0, len(model) - 3, 4):
            for word in (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
                survives(model[:at] + struct.pack("<I", word) + model[at + 4 :])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < MEMORY_LIMIT_BYTES
