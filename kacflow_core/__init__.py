"""kacflow_core: exact sampling and velocities of the Kac process, arrays in and arrays out.

The process of the telegrapher's equation: constant speed c, turns at rate a.  NumPy arrays, and
arrays on a GPU where they are; no torch.  ``reference`` is the definition that every backend is
tested against, ``testing`` the conformance suite for backends, built-in or your own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kacflow_core._api import sample, sample_pair, velocity, velocity_grad
from kacflow_core._dispatch import available_backends
from kacflow_core._distribution import cdf, logpdf, pdf, ppf, transport
from kacflow_core._events import Events
from kacflow_core._info import build_info
from kacflow_core._law import atom_mass, char_fn, variance
from kacflow_core._origin import version
from kacflow_core._paths import sample_path, simulate_events

if TYPE_CHECKING:
    from kacflow_core import reference, testing

__all__ = [
    "Events",
    "atom_mass",
    "available_backends",
    "build_info",
    "cdf",
    "char_fn",
    "logpdf",
    "pdf",
    "ppf",
    "reference",
    "sample",
    "sample_pair",
    "sample_path",
    "simulate_events",
    "testing",
    "transport",
    "variance",
    "velocity",
    "velocity_grad",
]

__version__ = version()


def __getattr__(name: str) -> Any:
    if name in ("reference", "testing"):  # they need SciPy and Hypothesis: loaded on first use
        return importlib.import_module(f"kacflow_core.{name}")
    raise AttributeError(f"module 'kacflow_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
