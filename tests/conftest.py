"""For all tests."""

from __future__ import annotations

import contextlib

# torch.compile's C++ backend imports setuptools, which refuses to work where something has imported
# the standard library's distutils before it.
with contextlib.suppress(ImportError):
    import setuptools  # noqa: F401
