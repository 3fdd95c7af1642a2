"""The plain float64 definition of everything the kernels compute.

Textbook formulas in NumPy and SciPy, one concept a file, written to be read: ``philox`` (random
words and uniforms), ``sampler`` (uniforms to the process), ``velocity`` (conditional velocity and
its derivatives).  Every backend is tested against it; it is also the backend called "reference".
"""

from __future__ import annotations

from kacflow_core.reference.philox import Uniforms, philox4x32, uniforms
from kacflow_core.reference.sampler import Endpoint, endpoint, sample, sample_pair
from kacflow_core.reference.velocity import bessel_ratio, bessel_ratio_slope, velocity, velocity_grad

__all__ = [
    "Endpoint",
    "Uniforms",
    "bessel_ratio",
    "bessel_ratio_slope",
    "endpoint",
    "philox4x32",
    "sample",
    "sample_pair",
    "uniforms",
    "velocity",
    "velocity_grad",
]
