"""Benchmarks: one file per question over one timing module; speed is measured here, not in tests.

Run them from the repository's root: ``python -m benchmarks.pair`` and so on, or ``make bench``.
"""

from __future__ import annotations

import pathlib
import sys

# The root is on the path for the sake of this package.  An installed kacflow goes before the source
# tree, which holds no compiled core unless it was built in place.
_ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
sys.path[:] = [*(p for p in sys.path if p not in ("", _ROOT)), _ROOT]
