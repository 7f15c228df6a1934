"""Memory of a device that the host gives out: first fit over the ranges that are free.

In: ranges of addresses, in the order in which they are tried. Out: addresses that are multiples of
8, and the marks for statistics. Nothing of it lies on the device. Running out and freeing what is
not taken raise ``StatusError``, with the codes that a device over RPC would answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from utvm.device.session import StatusError, status_name

ALIGNMENT = 8
_ERROR_ARGUMENT, _ERROR_MEMORY = -1, -2


class FirstFit:
    """Blocks by address; gaps are found by looking between them."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        aligned = ((-(-low // ALIGNMENT) * ALIGNMENT, high & -ALIGNMENT) for low, high in ranges)
        self._ranges = tuple((low, high) for low, high in aligned if low < high)
        self._blocks: dict[int, int] = {}  # address: size
        self.total_bytes = sum(high - low for low, high in self._ranges)
        self.used_bytes = self.peak_bytes = 0

    def allocate(self, size_bytes: int) -> int:
        """The lowest place that is large enough, in the first range that has one."""
        size = max(-(-size_bytes // ALIGNMENT) * ALIGNMENT, ALIGNMENT)
        for address, room in self.holes():
            if room >= size:
                self._blocks[address] = size
                self.used_bytes += size
                self.peak_bytes = max(self.peak_bytes, self.used_bytes)
                return address
        largest = max((room for _, room in self.holes()), default=0)
        raise status_error(
            _ERROR_MEMORY,
            f"allocate({size_bytes})",
            expected=f"at most {largest} bytes, the largest free block",
        )

    def free(self, address: int) -> None:
        """Returns a block."""
        size = self._blocks.pop(address, None)
        if size is None:
            raise status_error(_ERROR_ARGUMENT, f"free({address:#x})")
        self.used_bytes -= size

    def holds(self, address: int, size_bytes: int) -> bool:
        """Whether all of these bytes lie in one block."""
        return any(
            start <= address and address + size_bytes <= start + size
            for start, size in self._blocks.items()
        )

    def holes(self) -> Iterator[tuple[int, int]]:
        """Address and size of each gap."""
        for low, high in self._ranges:
            at = low
            for address in sorted(a for a in self._blocks if low <= a < high):
                if address > at:
                    yield at, address - at
                at = address + self._blocks[address]
            if at < high:
                yield at, high - at

    def largest_hole(self) -> tuple[int, int]:
        """Address and size of the largest gap; both 0 if there is none."""
        return max(self.holes(), key=lambda hole: hole[1], default=(0, 0))


def status_error(status: int, where: str, *, expected: str = "") -> StatusError:
    """The error for a code of the runtime."""
    error = StatusError("the device refused or failed", where=where, expected=expected)
    error.found, error.status = status_name(status), status
    return error
