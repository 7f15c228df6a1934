"""What a debug probe can do with a core: read and write memory, set registers, run to a place.

``MemoryAccess`` is all that a transport has to offer; a session is built on top of it
(memory_session.py). A core is halted whenever no method runs. Addresses are the device's own and
byte-wise; memory may be anything that the core's bus reaches. A deadline is a value of
``time.monotonic``. Nothing here knows about programs, operators or tasks.

In: nothing but the above. A method fails with ``DeviceTimeoutError`` (no answer before the
deadline; the core is halted again if that is possible), ``AccessFaultError`` (the bus refuses an
address, or the transport says that the core cannot go on) or ``StreamClosedError`` (the transport
is gone: process died, port closed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from utvm.support.errors import DeviceError


class AccessFaultError(DeviceError):
    """The bus refused an address, or the core cannot go on from where it is."""


@dataclass(frozen=True)
class Convention:
    """Names of the registers that a call needs, as transports know them."""

    pc: str
    stack: str
    link: str
    arguments: tuple[str, ...]


# AAPCS32 (Arm IHI 0042) and the RISC-V ELF psABI: integer arguments in order.
ARM = Convention("pc", "sp", "lr", ("r0", "r1", "r2", "r3"))
RISCV = Convention("pc", "sp", "ra", ("a0", "a1", "a2", "a3"))


class MemoryAccess(Protocol):
    """A core that is halted unless ``run`` runs it."""

    name: str
    """Of the board or the emulator, for messages."""

    def read(self, address: int, size_bytes: int) -> bytes:
        """Any address and size."""

    def write(self, address: int, data: bytes) -> None:
        """Any address and size; caches of instructions and decoded code are made to follow."""

    def register(self, name: str) -> int:
        """A core register: ``r0`` to ``r12``, ``sp``, ``lr``, ``pc``, ``xpsr``, or RISC-V's."""

    def set_register(self, name: str, value: int) -> None:
        """See ``register``. Bit 0 of a Thumb address is not part of ``pc``."""

    def run(self, stop: int, deadline: float) -> None:
        """Runs from ``pc`` until the instruction at ``stop`` is next; that one is not executed."""

    def reset(self) -> None:
        """Resets the core and halts it before its first instruction. Memory keeps its contents,
        as far as the device does that."""

    def close(self) -> None:
        """Ends the transport and what belongs to it; may be called again."""
