"""The demo's committed network: small, as accurate as its README says, and equal to LiteRT.

In: examples/digits/digits.tflite and digits_test.npz. The expected outputs in the archive are
those of LiteRT's reference kernels; here they are computed again where LiteRT is installed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.litert import Array, run_litert

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "digits"
MODEL = FOLDER / "digits.tflite"
MAX_MODEL_BYTES = 60_000
ROWS_CHECKED = 40


@pytest.fixture(scope="module")
def archive() -> dict[str, Array]:
    with np.load(FOLDER / "digits_test.npz") as stored:
        return dict(stored)


def test_arrays_have_one_row_per_image(archive: dict[str, Array]) -> None:
    assert archive["in0"].shape == (450, 1, 8, 8, 1)
    assert archive["out0"].shape == (450, 1, 10)
    assert archive["labels"].shape == (450,)
    assert archive["in0"].dtype == archive["out0"].dtype == np.int8


def test_accuracy_is_what_the_readme_says(archive: dict[str, Array]) -> None:
    predicted = archive["out0"][:, 0].argmax(axis=1)
    correct = int(np.sum(predicted == archive["labels"]))
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{correct / 450:.2%}".replace("%", " %") in readme
    assert f"({correct})" in readme
    assert correct / 450 >= 0.97


def test_expected_outputs_are_those_of_litert(archive: dict[str, Array]) -> None:
    model = MODEL.read_bytes()
    for image, expected in zip(archive["in0"][:ROWS_CHECKED], archive["out0"], strict=False):
        np.testing.assert_array_equal(run_litert(model, [image])[0], expected)


def test_model_is_small() -> None:
    size = MODEL.stat().st_size
    assert size <= MAX_MODEL_BYTES
    assert f"{size:,} bytes" in (FOLDER / "README.md").read_text(encoding="utf-8")
