"""The control block and the tasks of utvm/task.h as bytes.

In: calls with their tensors. Out: what the host writes to ``utvm_task_area``, tasks first and
behind them their arguments; and what it reads there after a run. Layouts are those of a 32-bit
device with the alignments of AAPCS32 or RISC-V ILP32; a test compares them with a C compiler's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from utvm.device.session import DeviceTensor

CONTROL = struct.Struct("<4I I i 3I I 10I")
TASK = struct.Struct("<4I I i 3I I Q")
TENSOR = struct.Struct("<I 3i BBH 2I 4x Q")
CONTROL_BYTES, TASK_BYTES, TENSOR_BYTES = CONTROL.size, TASK.size, TENSOR.size
FAULT_OFFSET = 40  # from here the control block is what rpc_fault.py reads
LOG_BYTES = 256

NONE = 0xFFFFFFFF
_DEVICE_CPU = 1
_TENSOR_HANDLE = 7


@dataclass(frozen=True)
class Call:
    """A function, by its name and its address with what the instruction set wants in bit 0."""

    name: str
    address: int
    tensors: tuple[DeviceTensor, ...]
    calls: int = 1

    @property
    def size_bytes(self) -> int:
        """In the area: the task and its arguments."""
        count = len(self.tensors)
        axes = sum(len(tensor.shape) for tensor in self.tensors)
        return TASK_BYTES + count * (8 + TENSOR_BYTES) + _aligned(4 * count) + 8 * axes


@dataclass(frozen=True)
class Result:
    """What a task came to."""

    status: int
    calls: int
    workspace_peak_bytes: int
    stack_peak_bytes: int
    cycles: int


@dataclass(frozen=True)
class Outcome:
    """A run: of its tasks the first ``done`` succeeded. ``fault`` is what rpc_fault.py reads behind
    the number of the function."""

    done: int
    status: int
    counter: int
    log_bytes: int
    log_lost: int
    running: int | None
    reason: int
    fault: bytes
    results: tuple[Result, ...]


def encode_tasks(
    area: int, calls: Sequence[Call], ready: bool, workspace: tuple[int, int]
) -> bytes:
    """What to write at ``area``; ``workspace`` is address and size of scratch memory."""
    count = len(calls)
    words = (int(ready), count, *workspace, 0, 0, 0, 0, 0, 0, NONE, 0, *(0,) * 8)
    tasks, arguments = [], bytearray()
    begin = area + CONTROL_BYTES + count * TASK_BYTES
    for call in calls:
        values = begin + len(arguments)
        codes = values + 8 * len(call.tensors)
        head = (call.address, values, codes, len(call.tensors), call.calls)
        tasks.append(TASK.pack(*head, 0, 0, 0, 0, 0, 0))
        arguments += _arguments(values, call.tensors)
    return CONTROL.pack(*words) + b"".join(tasks) + bytes(arguments)


def _arguments(address: int, tensors: Sequence[DeviceTensor]) -> bytes:
    """Values, type codes, tensors, shapes, in this order."""
    count = len(tensors)
    first = address + 8 * count + _aligned(4 * count)
    shapes_at = first + count * TENSOR_BYTES
    values, heads, shapes = b"", b"", b""
    for index, tensor in enumerate(tensors):
        code, bits = tensor.type_code
        values += struct.pack("<Q", first + index * TENSOR_BYTES)
        rank = len(tensor.shape)
        shape = shapes_at + len(shapes)
        heads += TENSOR.pack(tensor.address, _DEVICE_CPU, 0, rank, code, bits, 1, shape, 0, 0)
        shapes += struct.pack(f"<{rank}q", *tensor.shape)
    codes = struct.pack("<i", _TENSOR_HANDLE) * count
    return values + codes.ljust(_aligned(4 * count), b"\0") + heads + shapes


def result_bytes(count: int) -> int:
    """How much to read back after a run of so many tasks."""
    return CONTROL_BYTES + count * TASK_BYTES


def decode_tasks(data: bytes, count: int) -> Outcome:
    """What a run of ``count`` tasks left at the area."""
    words = CONTROL.unpack_from(data)
    _, _, _, _, done, status, counter, log_bytes, log_lost, _, running, reason = words[:12]
    results = []
    for index in range(count):
        task = TASK.unpack_from(data, CONTROL_BYTES + index * TASK_BYTES)
        _, _, _, _, _, task_status, calls, workspace, stack, _, cycles = task
        results.append(Result(task_status, calls, workspace, stack, cycles))
    return Outcome(
        done=min(done, count),
        status=status,
        counter=counter,
        log_bytes=min(log_bytes, LOG_BYTES),
        log_lost=log_lost,
        running=running if running < count else None,
        reason=reason,
        fault=data[FAULT_OFFSET + 4 : CONTROL_BYTES],
        results=tuple(results),
    )


def _aligned(size: int) -> int:
    return -(-size // 8) * 8
