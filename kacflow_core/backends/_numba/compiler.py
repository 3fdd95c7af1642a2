"""How everything in this package is compiled.

Functions are templates over the working type, as in ``csrc/kac``: a Python function of ``real``
(``np.float32`` or ``np.float64``) that builds a compiled one, once per type.  An *element* function
or a *part* is compiled into its callers; a *kernel* is what Python calls, compiled for one
signature when it is first wanted, so that a process pays for what it uses.

No fastmath: NaN, infinities and denormal numbers mean what IEEE 754 says, and operations are fused
only where the text says fma.  ``error_model="numpy"``: divisions have no branch.

Nothing is cached on disk.  numba judges a cached kernel by the age of the file that the kernel is
in, not of those whose functions are compiled into it, so an update could leave old code in use; and
the cache needs a directory that can be written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numba

#: Held while anything is built.  A fork waits for it: a child forked in the middle of a compilation
#: would inherit numba's and LLVM's locks without the thread that releases them.
_building = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_building.acquire,
        after_in_parent=_building.release,
        after_in_child=_building.release,
    )

_OPTIONS = {"error_model": "numpy", "no_cfunc_wrapper": True}


def template(build: Callable[..., Any]) -> Callable[..., Any]:
    """A function that builds once for each value of its arguments, whichever thread asks."""
    built: dict[tuple[Any, ...], Any] = {}

    def instance(*args: Any) -> Any:
        found = built.get(args)
        if found is None:
            with _building:
                found = built.get(args)
                if found is None:
                    found = built[args] = build(*args)
        return found

    instance.__doc__ = build.__doc__
    return instance


def element(function: Callable[..., Any]) -> Any:
    """Compile a function into whatever calls it."""
    return numba.njit(forceinline=True, no_cpython_wrapper=True, **_OPTIONS)(function)


def part(function: Callable[..., Any]) -> Any:
    """Like ``element``, for a large function with one caller: not compiled on its own before."""
    return numba.njit(inline="always", no_cpython_wrapper=True, **_OPTIONS)(function)


def kernel(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that Python calls, for these types of arguments; it runs without the GIL.

    It returns nothing and raises nothing.
    """
    return numba.njit(numba.void(*signature), nogil=True, **_OPTIONS)
