"""The definition: the Kac process in plain float64 NumPy, textbook form, arrays in and arrays out.

Every backend is tested against this package, and users may read it as the specification.  Nothing
is checked or rounded to a working type here; ``dtype`` arguments choose the uniforms (and the
rounding of the light cone) of that working type, and results are float64 in either case.

================  ==========================================================
``philox``        words and uniforms of a counter
``sampler``       uniforms to K(t)
``velocity``      conditional velocity and derivatives
``pair``          the training pair
``path``          whole paths on a time grid
``events``        turning times
``law``           moments, characteristic function, atoms
``distribution``  density, distribution function, quantiles, transport
``spline``        monotone rational-quadratic splines
================  ==========================================================
"""

from __future__ import annotations

from kacflow_core.reference import distribution, events, law, pair, path, philox, sampler
from kacflow_core.reference.distribution import cdf, logpdf, pdf, ppf, scaled_bessel, transport
from kacflow_core.reference.events import simulate_events
from kacflow_core.reference.law import atom_mass, char_fn, variance
from kacflow_core.reference.pair import sample_pair
from kacflow_core.reference.path import sample_path
from kacflow_core.reference.sampler import sample
from kacflow_core.reference.velocity import bessel_ratio, velocity, velocity_grad

__all__ = [
    "atom_mass",
    "bessel_ratio",
    "cdf",
    "char_fn",
    "distribution",
    "events",
    "law",
    "logpdf",
    "pair",
    "path",
    "pdf",
    "philox",
    "ppf",
    "sample",
    "sample_pair",
    "sample_path",
    "sampler",
    "scaled_bessel",
    "simulate_events",
    "transport",
    "variance",
    "velocity",
    "velocity_grad",
]
