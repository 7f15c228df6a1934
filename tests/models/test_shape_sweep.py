"""Some shapes of the sweep on every kind of core; ``shape_sweep`` itself runs hundreds."""

from __future__ import annotations

import pytest

from tests.models.shape_sweep import sweep


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "cortex-m0plus", "cortex-m4", "cortex-m7"])
def test_random_shapes_are_exact(target: str) -> None:
    costs = list(sweep(7, 20, target))
    assert {cost.kind for cost in costs} >= {"CONV_2D", "DEPTHWISE_CONV_2D", "POOL"}
    assert all((cost.cycles > 0) == (target != "host") for cost in costs)
