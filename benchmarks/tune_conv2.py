"""A tuning run of one convolution alone, killed now and then, and its curve.

In: a folder for the layer and the records. Out: docs/benchmarks/tuning_<layer>.svg, and the figures
that docs/benchmarks_tuning.md tells. Killed means SIGKILL to the whole process group; the same
command then goes on. One command, from the repository:

    python -m benchmarks.tune_conv2 build/tuning --kill-at 120 310
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.conv2d import LAYERS, write_layer

ROOT = Path(__file__).parents[1]
_POLL_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="where the layer and its records are kept")
    parser.add_argument("--layer", choices=tuple(LAYERS), default="conv2")
    parser.add_argument("--target", default="cortex-m4")
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--devices", default="emulator*2")
    parser.add_argument("--kill-at", type=int, nargs="*", default=(), metavar="TRIALS")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    layer = write_layer(options.layer, options.work)
    records = options.work / f"{options.target}-{options.layer}.jsonl"
    command = [sys.executable, "-m", "utvm.cli", "tune", str(layer.model)]
    command += ["--params", str(layer.params), "--target", options.target]
    command += ["--records", str(records), "--trials", str(options.trials)]
    command += ["--objective", "cycles", "--devices", options.devices]
    command += ["--plot", str(ROOT / "docs" / "benchmarks" / f"tuning_{options.layer}.svg")]
    for trials in options.kill_at:
        print(f"killed with {_killed(command, records, trials)} trials in the file", flush=True)
    subprocess.run(command, check=True, env=_environment())


def _killed(command: Sequence[str], records: Path, trials: int) -> int:
    """Starts a run, and ends it with all that it started when the file has so many trials."""
    run = subprocess.Popen(command, start_new_session=True, env=_environment())
    while run.poll() is None and _lines(records) < trials:
        time.sleep(_POLL_SECONDS)
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    return _lines(records)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    main()
