"""Writes programs into a device's RAM, and of the next version only what differs.

In: images, one after the other. Out: as few and as short writes as tell the device what is new,
which matters where a probe writes some kilobytes a second. Assumes that nobody else writes where
code and constants lie; ``forget`` when that may have happened. Variables are always written, as the
device changes them. After a first write the ends are read back, so that RAM that is not there is
found out at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from utvm.device.elf import ElfImage, Segment
from utvm.device.memory_access import MemoryAccess
from utvm.support.errors import DeviceError

_GRAIN_BYTES = 64  # two changes that are closer may be one write
_PROBE_BYTES = 8


class ImageWriter:
    """``written_bytes`` counts what went to the device."""

    def __init__(self, access: MemoryAccess) -> None:
        self._access = access
        # Of every 64 bytes the stretch that is known: where it begins, and what it holds.
        self._known: dict[int, tuple[int, bytes]] = {}
        self.written_bytes = 0

    def forget(self) -> None:
        """The device may hold anything."""
        self._known.clear()

    def write(self, image: ElfImage) -> None:
        """Makes the device hold the segments of ``image``."""
        for segment in image.segments:
            first = not self._known
            for address, data in self._changes(segment):
                self._access.write(address, data)
                self.written_bytes += len(data)
            if first and segment.data:
                self._verify(segment.vaddr, segment.data)

    def _verify(self, address: int, data: bytes) -> None:
        count = min(_PROBE_BYTES, len(data))
        for at in (0, len(data) - count):
            found = self._access.read(address + at, count)
            if found != data[at : at + count]:
                raise DeviceError(
                    "the device does not keep what is written to it",
                    where=f"{self._access.name}, {address + at:#010x}",
                    expected=data[at : at + count].hex(),
                    found=found.hex(),
                    hint="is this the board that the program was built for?",
                )

    def _changes(self, segment: Segment) -> Iterator[tuple[int, bytes]]:
        """Stretches that differ from what the device has."""
        start, data = segment.vaddr, segment.data
        begin: int | None = None
        at = 0
        while at < len(data):
            end = min(len(data), at + _GRAIN_BYTES - (start + at) % _GRAIN_BYTES)
            grain, piece = (start + at) // _GRAIN_BYTES, (start + at, data[at:end])
            if self._known.get(grain) != piece or segment.writable:
                self._known[grain] = piece
                begin = at if begin is None else begin
            elif begin is not None:
                yield start + begin, data[begin:at]
                begin = None
            at = end
        if begin is not None:
            yield start + begin, data[begin:]
