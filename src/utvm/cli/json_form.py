"""The JSON objects that commands print with --json. Their keys are stable.

In: the driver's reports. Out: plain dictionaries. Figures that do not exist for a target (cycles of
a native program, say) are null; figures of a run are per invocation.
"""

from __future__ import annotations

from dataclasses import asdict

from utvm.device.memory_program import SectionMap
from utvm.driver.connect import Device
from utvm.driver.execute import RunReport
from utvm.driver.inspect import Inspection, TensorLine
from utvm.driver.load import Model
from utvm.driver.memory import Memory
from utvm.driver.options import BuildOptions
from utvm.driver.run import OperatorCost

Json = dict[str, object]


def run_json(report: RunReport, placed: SectionMap | None = None) -> Json:
    """``utvm run --json``; ``placed`` is there with --show-memory."""
    run, build, comparison = report.run, report.build, report.comparison
    return {
        **origin_json(build.model, build.options),
        "rows": run.rows,
        "transport": str(build.options.transport),
        "random_inputs": report.random,
        "outputs": None if report.written is None else str(report.written),
        "matches": None if comparison is None else comparison.matches,
        "max_abs_diff": None if comparison is None else comparison.max_abs_diff,
        "instructions": run.instructions,
        "cycles": run.cycles,
        "cycle_model": None if run.cycles is None else cycle_model(build.options),
        "macs": build.macs,
        **memory_json(build.memory),
        "stack_bytes": run.stack_bytes,
        "operators": [operator_json(operator) for operator in run.operators],
        "compile_seconds": round(build.compile_seconds, 3),
        **({} if placed is None else {"memory_map": asdict(placed)}),
    }


def cycle_model(options: BuildOptions) -> str | None:
    """What the cycles are: modelled, or counted by the real board."""
    return "device counter" if options.board.run == "probe" else options.target.cycle_model


def inspect_json(inspection: Inspection) -> Json:
    """``utvm inspect --json``."""
    build = inspection.build
    return {
        **origin_json(inspection.model, inspection.options),
        "supported": inspection.supported,
        "problem": inspection.problem or None,
        "inputs": [tensor_json(tensor) for tensor in inspection.inputs],
        "outputs": [tensor_json(tensor) for tensor in inspection.outputs],
        "operators": [asdict(operator) for operator in inspection.operators],
        "macs": None if build is None else build.macs,
        "macs_removed": inspection.macs_removed,
        "predicted_cycles": inspection.predicted_cycles,
        "predicted_instructions": inspection.predicted_instructions,
        "kernels": [asdict(kernel) for kernel in inspection.kernels],
        "fits": inspection.fits,
        **memory_json(inspection.memory),
    }


def device_json(device: Device) -> Json:
    """``utvm rpc connect --json`` without a model."""
    fault = device.fault
    return {
        "server": device.server,
        **asdict(device.welcome),
        "fault": None if fault is None else fault.text,
        "statistics": asdict(device.statistics),
        "function_statistics": [asdict(function) for function in device.functions],
    }


def tensor_json(tensor: TensorLine) -> Json:
    """An input or output of a model."""
    quantization = tensor.quantization
    if quantization is None:
        return {"name": tensor.name, "type": tensor.type, "quantization": None}
    one = quantization.axis is None
    scales, zeros = list(quantization.scales), list(quantization.zero_points)
    described = {
        "scale": scales[0] if one else scales,
        "zero_point": zeros[0] if one else zeros,
        "axis": quantization.axis,
    }
    return {"name": tensor.name, "type": tensor.type, "quantization": described}


def origin_json(model: Model, options: BuildOptions) -> Json:
    """What was built, for what, and with what."""
    return {
        "model": str(model.path),
        "target": options.target.name,
        "board": options.board.name,
        "executor": options.executor,
        "toolchain": options.toolchain.version(),
    }


def memory_json(memory: Memory | None) -> Json:
    """Flash and RAM; null for a native program."""
    if memory is None:
        return {"flash_bytes": None, "ram_bytes": None}
    flash, ram = memory.flash, memory.ram
    return {
        "flash_bytes": {"code": flash.code, "constants": flash.constants},
        "ram_bytes": {"arena": ram.arena, "io": ram.io, "static": ram.static},
    }


def operator_json(operator: OperatorCost) -> Json:
    """One kernel."""
    return {
        "name": operator.name,
        "op": operator.op,
        "source": operator.source,
        "cycles": operator.cycles,
        "instructions": operator.instructions,
        "macs": operator.macs,
    }
