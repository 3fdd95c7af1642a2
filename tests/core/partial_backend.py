"""The example backend with the endpoint sampler alone, registered as "partial"."""

from __future__ import annotations

from example_backend import ExampleBackend

from kacflow_core.testing import register_backend
from kacflow_core.testing._subject import OUTPUTS


class PartialBackend(ExampleBackend):
    pass


for method in OUTPUTS.keys() - {"sample"}:
    setattr(PartialBackend, method, None)
register_backend("partial", PartialBackend)
