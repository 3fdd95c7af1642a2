"""The example backend with the endpoint sampler alone, registered as "partial"."""

from __future__ import annotations

from example_backend import ExampleBackend

from kacflow_core._dispatch import OPTIONAL, Backend
from kacflow_core.testing import register_backend


class PartialBackend(ExampleBackend):
    pass


for method in (*vars(Backend), *OPTIONAL):
    if method != "sample" and not method.startswith("_"):
        setattr(PartialBackend, method, None)
register_backend("partial", PartialBackend)
