"""The error types of utvm: one family for the user's mistakes, one for ours.

A ``UtvmError`` says what is wrong, where (file, node, operator), what was expected, what was found,
and gives a hint. The command line prints it as one line and exits with code 1. An ``InternalError``
is a defect of utvm itself and asks for a report. Nothing here formats tracebacks.
"""

from __future__ import annotations


class UtvmError(Exception):
    """A mistake in the user's input: one clear line, no traceback.

    ``what`` is a sentence without a final period. The other parts are optional and appear in
    this order: where, expected, found, hint. Text that comes from a model must have passed
    :func:`utvm.support.text.printable` before it gets here.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.found = found
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.found:
            parts.append(f"found {self.found}")
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "; ".join(parts)


class ModelError(UtvmError):
    """The model file is broken or contradicts itself."""


class UnsupportedError(UtvmError):
    """The model is well formed, but asks for something utvm does not do yet."""


class InputError(UtvmError):
    """A command-line argument, an input tensor or an option file is wrong."""


class ScheduleError(UtvmError):
    """A schedule asks for a rewrite that would change the program's meaning."""


class MemoryLimitError(UtvmError):
    """The program does not fit the memories of the board."""


class ToolchainError(UtvmError):
    """A compiler or linker is missing or has failed."""


class DeviceError(UtvmError):
    """The program on the device faulted, hung, or the device went away."""


class InternalError(Exception):
    """A defect of utvm itself; please report it."""
