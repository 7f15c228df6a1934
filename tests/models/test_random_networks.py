"""Random networks: every integer output equals LiteRT's reference kernels, floats agree closely."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_models
from tests.litert import run_litert
from tests.random_networks import random_network

# A float network may amplify rounding differences of its layers; each layer alone is within 1e-5.
RELATIVE, ABSOLUTE = 1e-4, 1e-5


@pytest.mark.parametrize("target", ["host", pytest.param("cortex-m4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32"])
def test_equal_litert(dtype: str, target: str) -> None:
    models = [random_network(seed, dtype) for seed in range(16)]
    expected = [run_litert(model, [x]) for model, x in models]
    found = run_models([(model, [x]) for model, x in models], target)
    for seed, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        for a, b in zip(wanted, got, strict=True):
            message = f"random_network({seed}, {dtype!r})"
            if dtype == "float32":
                np.testing.assert_allclose(b, a, RELATIVE, ABSOLUTE, err_msg=message)
            else:
                np.testing.assert_array_equal(b, a, err_msg=message)
