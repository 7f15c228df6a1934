"""Measures again what the documentation shows: figures in the pages, the picture, benchmarks.

In: the tree as it is. Out: README.md, docs/tutorial/*.md and docs/images/run.svg with current
figures; with --benchmarks also docs/benchmarks.md, which takes minutes and needs the networks of
../shared. Exit code 1 where a page says something else than figures that is no longer true; its
author must look.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.console_blocks import complaints, refreshed_page, run_page  # noqa: E402


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--benchmarks"]):
        print("usage: refresh_docs.py [--benchmarks]", file=sys.stderr)
        return 2
    pages = [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/tutorial/*.md"))]
    wrong = [text for page in pages for text in refresh(page)]
    print("\n".join(wrong), end="", file=sys.stderr)
    programs = ["tools/picture.py", *(["benchmarks/run.py"] if arguments else [])]
    failed = [subprocess.run([sys.executable, p], cwd=ROOT).returncode for p in programs]
    return 1 if wrong or any(failed) else 0


def refresh(path: Path) -> list[str]:
    """Brings one page up to date; what is left wrong, as text."""
    page = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="utvm-") as folder:
        outcomes = run_page(page, Path(folder))
    fresh = refreshed_page(page, outcomes)
    if fresh != page:
        path.write_text(fresh, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: new figures")
    return [f"{path.relative_to(ROOT)}: {text}" for text in complaints(outcomes)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
