"""The conformance suite: is a backend what :mod:`kacflow_core.reference` defines?

For an installation on your own machine, built in backends and their threads and SIMD levels::

    python -m kacflow_core.testing --backend native

and for a backend of your own, an object with the methods of
:class:`kacflow_core._dispatch.Backend`::

    from kacflow_core.testing import check_backend, register_backend

    register_backend("mine", MyBackend)
    print(check_backend("mine"))

It need not have all of the methods: ``check_backend("mine", partial=True)`` lists the checks of the
others as missing.

======================  ====================================================================
``strategies``          Hypothesis strategies for parameters, places and data
``check_backend``       run the checks; :class:`ConformanceError` says what is wrong
``register_backend``    make a backend of your own known under a name
``philox_vectors.txt``  known answers of the generator, for implementations in any language
======================  ====================================================================
"""

from __future__ import annotations

try:
    import hypothesis  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "kacflow_core.testing needs Hypothesis: pip install 'kacflow[test]'"
    ) from error

from kacflow_core._dispatch import register_backend
from kacflow_core.testing import strategies
from kacflow_core.testing._report import ConformanceError, Report, Result
from kacflow_core.testing._suite import check_backend, check_names

__all__ = [
    "ConformanceError",
    "Report",
    "Result",
    "check_backend",
    "check_names",
    "register_backend",
    "strategies",
]
