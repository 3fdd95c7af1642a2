"""The example backend with the endpoint sampler alone, registered as "partial"."""

from __future__ import annotations

from example_backend import ExampleBackend

from kacflow_core.testing import register_backend


class PartialBackend(ExampleBackend):
    velocity = velocity_grad = sample_pair = None
    sample_path = simulate_events = distribution = transport = None


register_backend("partial", PartialBackend)
