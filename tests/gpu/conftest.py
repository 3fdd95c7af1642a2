"""Tests that need a GPU; without one they are skipped, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kacflow_core._dispatch import GPU, available_backends, backend_reasons

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX takes most of the memory

_THERE = [name for name in available_backends() if name in GPU]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not _THERE:
        reasons = "; ".join(f"{n}: {r}" for n, r in backend_reasons().items() if n in GPU)
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reasons))


@pytest.fixture(params=_THERE or ["none"])
def gpu_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each GPU backend in turn, as the one that arrays on a GPU go to."""
    from kacflow_core import _dispatch

    monkeypatch.setattr(_dispatch, "_gpu_default", _dispatch.get_backend(request.param))
    return request.param
