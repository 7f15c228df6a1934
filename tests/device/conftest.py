"""Fixtures of the device tests: a place to assemble and run small programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.device.assembly import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)
