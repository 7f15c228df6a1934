"""``python -m utvm.cli``: the command line where no script ``utvm`` is installed.

In: the arguments of the process. Out: its exit code.
Nothing else happens here.
"""

from __future__ import annotations

import sys

from utvm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
