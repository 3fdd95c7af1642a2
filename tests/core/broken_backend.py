"""The example backend, one percent too fast, registered as "broken"."""

from __future__ import annotations

from example_backend import ExampleBackend

from kacflow_core.testing import register_backend


class BrokenBackend(ExampleBackend):
    def sample(self, out, layout, t, a, c, **rest):
        super().sample(out, layout, t, a, c * 1.01, **rest)


register_backend("broken", BrokenBackend)
