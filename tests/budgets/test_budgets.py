"""Instructions, flash and RAM of real networks stay within tests/budgets.toml.

In: the demo's network, and the MLPerf Tiny networks where ../shared is there. A network over its
budget fails with all figures beside their limits. Instructions are counted on the emulated core, so
they are the same on every machine; nothing here is timed.
"""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from benchmarks.budgets import figures, lower_budgets
from benchmarks.measure import SHARED_MODELS, Measurement, find_networks, measure
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "tests" / "budgets.toml").read_text(encoding="utf-8")
BUDGETS: dict[str, dict[str, Any]] = tomllib.loads(TEXT)
PEERS = tomllib.loads((REPOSITORY / "benchmarks" / "peers.toml").read_text(encoding="utf-8"))
NETWORKS = {network.name: network for network in find_networks()}
LIMITED = ("instructions", "code_bytes", "constant_bytes", "arena_bytes")
TIMES_FEWER = 2.5
"""Instructions of the reference kernels per instruction of ours: what utvm promises at least."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BUDGETS)
def test_network_stays_within_its_budget(name: str) -> None:
    if name != "digits" and not SHARED_MODELS.is_dir():
        pytest.skip("needs the real networks in ../shared/models")
    budget = BUDGETS[name]
    network = NETWORKS[budget.get("network", name)]
    result = measure(network, budget["target"], "zig")
    assert isinstance(result, Measurement), result
    reached = figures(result)
    lines = [f"{key}: {reached[key]:_}, budget {budget[key]:_}" for key in LIMITED]
    assert all(reached[key] <= budget[key] for key in LIMITED), "\n".join([name, *lines])


@pytest.mark.parametrize("name", [name for name in PEERS if "reference" in PEERS[name]])
def test_budget_keeps_the_distance_to_the_reference_kernels(name: str) -> None:
    reference = PEERS[name]["reference"]["m4_instructions"]
    assert BUDGETS[name]["target"] == "cortex-m4"
    assert BUDGETS[name]["reference_instructions"] == reference
    assert BUDGETS[name]["instructions"] * TIMES_FEWER <= reference


def test_every_budget_names_every_limit() -> None:
    for name, budget in BUDGETS.items():
        assert not set(LIMITED) - set(budget), name


@pytest.mark.slow
def test_budgets_fall_and_never_rise() -> None:
    text = '[digits]\ntarget = "cortex-m4"\ninstructions = 1 # hard\ncode_bytes = 999_999_999\n'
    text += "constant_bytes = 999_999_999\narena_bytes = 0\n"
    lowered = lower_budgets(text, [NETWORKS["digits"]])
    assert "instructions = 1 # hard\n" in lowered
    assert "arena_bytes = 0\n" in lowered
    budget = tomllib.loads(lowered)["digits"]
    assert 0 < budget["code_bytes"] < 1_000_000
    assert 0 < budget["constant_bytes"] < 1_000_000
