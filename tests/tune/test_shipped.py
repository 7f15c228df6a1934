"""The records that come with utvm: whole, small, and still about schedules that exist.

Records are about nothing any more when a knob is added or renamed: the second test notices it. Then
`python -m benchmarks.tune_shipped` makes new ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from utvm.driver.load import import_model, load_model
from utvm.driver.options import SHIPPED_RECORDS
from utvm.driver.pipeline import lower_network
from utvm.schedule.options import kernel_options
from utvm.schedule.records import OK, load_records, read_records
from utvm.schedule.workload import workload_of
from utvm.target.target import load_target

TARGETS = ("cortex-m4", "cortex-m7", "cortex-m33")
MOST_BYTES = 200_000


@pytest.mark.parametrize("target", TARGETS)
def test_they_are_whole_and_small(target: str) -> None:
    path = SHIPPED_RECORDS / f"{target}.jsonl"
    file = read_records(path)
    assert not file.skipped and path.stat().st_size < MOST_BYTES
    assert {(r.target, r.status, r.device) for r in file.records} == {(target, OK, "emulator")}
    assert len({(r.workload, r.config) for r in file.records}) == len(file.records)


@pytest.mark.parametrize("target", TARGETS)
def test_they_name_schedules_that_exist_and_all_defaults(target: str, shared_models: Path) -> None:
    model = shared_models / "mlperf_resnet8_int8" / "model.tflite"
    records, _ = load_records([SHIPPED_RECORDS / f"{target}.jsonl"], target)
    _, module = lower_network(import_model(load_model(model)))
    for function in module.functions:
        options = kernel_options(function, module.constants, load_target(target))
        if len(options) > 1:
            known = records.of(workload_of(function).key)
            assert set(known) <= {option.config for option in options}, function.name
            wanted = {o.config for o in options if o.default and not o.lavish}
            assert wanted <= set(known), function.name
