"""A stream that damages what goes through it: bytes are lost, doubled, flipped, and split.

In: another stream, a seed and how often a byte is damaged. Out: a ``ByteStream``. The same seed
damages the same bytes. ``quiet`` turns the damage off for the rest.
"""

from __future__ import annotations

import random

from utvm.device.stream import ByteStream


class NoisyStream:
    """Damages both directions."""

    def __init__(self, inner: ByteStream, seed: int, rate: float) -> None:
        self.damaged = 0
        self.quiet = False
        self._inner = inner
        self._random = random.Random(seed)
        self._rate = rate
        self._pending = b""

    def read(self, deadline: float) -> bytes:
        """In pieces of random size."""
        while not self._pending:
            data = self._inner.read(deadline)
            if not data:
                return b""
            self._pending = self._damage(data)
        count = self._random.randint(1, len(self._pending))
        piece, self._pending = self._pending[:count], self._pending[count:]
        return piece

    def write(self, data: bytes, deadline: float) -> None:
        data = self._damage(data)
        cut = self._random.randint(0, len(data))
        for piece in (data[:cut], data[cut:]):
            self._inner.write(piece, deadline)

    def close(self) -> None:
        self._inner.close()

    def _damage(self, data: bytes) -> bytes:
        if self.quiet:
            return data
        return b"".join(self._damaged(byte) for byte in data)

    def _damaged(self, byte: int) -> bytes:
        if self._random.random() >= self._rate:
            return bytes((byte,))
        self.damaged += 1
        kind = self._random.randrange(4)
        if kind == 0:
            return b""
        if kind == 1:
            return bytes((byte, byte))
        if kind == 2:
            return bytes((byte ^ 1 << self._random.randrange(8),))
        return bytes((byte, self._random.randrange(256)))
