"""Draws docs/images/run.svg: what ``utvm run`` prints on a terminal, for the demo's network.

In: examples/digits, compiled and run for this. Out: the picture, the same bytes for the same
figures: the time that compiling took is left out.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from utvm.cli.report import (  # noqa: E402
    print_comparison,
    print_memory,
    print_operators,
    print_outputs,
)
from utvm.driver.execute import RunReport, RunRequest, execute  # noqa: E402
from utvm.driver.options import resolve_options  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "run.svg"
COMMAND = "utvm run digits.tflite --input digits_test.npz --expect digits_test.npz"
COLUMNS = 112
# Dark text on white: readable on the pages that show it, in print, too.
THEME = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        (36, 41, 47),
        (207, 34, 46),
        (17, 99, 41),
        (77, 45, 0),
        (9, 105, 218),
        (130, 80, 223),
        (27, 124, 131),
        (110, 119, 129),
    ],
)
# Rich's frame without its window, and without the fonts that it would load from elsewhere. Text
# starts at y = 41; 20 of these are cut off.
FRAME = """<svg viewBox="0 20 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
  white-space: pre;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
<rect y="20" width="{width}" height="{height}" rx="8" fill="#fff"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> int:
    svg = draw(run_digits())
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(svg, encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {len(svg):,} characters")
    return 0


def run_digits() -> RunReport:
    """The demo's network on all test images, on the default target."""
    folder = ROOT / "examples" / "digits"
    data = folder / "digits_test.npz"
    request = RunRequest(folder / "digits.tflite", resolve_options(), inputs=data, expected=data)
    return execute(request)


def draw(report: RunReport) -> str:
    """The tables of ``utvm run`` as SVG."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=COLUMNS,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    run, build = report.run, report.build
    assert build.memory is not None and report.comparison is not None
    console.print(f"$ {COMMAND}", style="bold")
    console.print()
    print_outputs(console, build.outputs, run)
    console.print()
    print_operators(console, run, build.macs, every_operator=True)
    console.print()
    print_memory(console, build.memory, build.options.board, run.stack_bytes)
    console.print()
    print_comparison(console, report.comparison, run.rows)
    svg = console.export_svg(theme=THEME, code_format=FRAME, unique_id="utvm")
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


if __name__ == "__main__":
    sys.exit(main())
