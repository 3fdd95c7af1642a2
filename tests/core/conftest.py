"""Every numerical test of the core runs on every backend present."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kacflow_core

sys.path.insert(0, str(Path(__file__).parent))  # cores

from cores import Core, core_names, make_core


@pytest.fixture(scope="session", params=kacflow_core.available_backends())
def backend(request: pytest.FixtureRequest) -> str:
    """Name of a backend present on this machine."""
    return request.param


@pytest.fixture(scope="session", params=core_names())
def core(request: pytest.FixtureRequest) -> Iterator[Core]:
    """Every backend, and every SIMD level of the native one."""
    made = make_core(request.param)
    yield made
    made.close()


@pytest.fixture(scope="session", params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Working type."""
    return request.param
