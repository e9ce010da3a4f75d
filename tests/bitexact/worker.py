"""
Compare one case with a library that is built: `python -m tests.bitexact.worker 137 <library>`.

A process of its own for sanitised libraries, which end the process that they find a fault in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bitexact.cases import case
from tests.bitexact.compare import compare

if __name__ == "__main__":
    compare(case(int(sys.argv[1])), Path(sys.argv[2]))
