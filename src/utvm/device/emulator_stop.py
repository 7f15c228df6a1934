"""Why an emulated machine stands still: what a run of it ends with.

In: nothing. Out: ``Reason`` and ``Stop``. Whoever runs a machine decides what each reason means: a
breakpoint is a semihosting call to one, a halt to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from utvm.device.emulator_faults import CoreFaultError


class Reason(Enum):
    """Why the machine stands still."""

    ADDRESS = auto()
    """The instruction at one of the asked addresses is next."""
    LIMIT = auto()
    BREAKPOINT = auto()
    """A ``bkpt`` is next; semihosting calls are such."""
    FAULT = auto()
    """``Stop.fault`` says which; the core can't go on by itself."""
    SLEEP = auto()
    """It waits for an interrupt, and none comes."""
    RESET = auto()
    """The program asks for a reset (AIRCR); it is the caller's to do."""
    RETURNED = auto()
    """The measured function has returned."""


@dataclass(frozen=True)
class Stop:
    """The end of a run."""

    reason: Reason
    fault: CoreFaultError | None = None
