"""The one place that knows which backends exist, loads them on first use, and keeps the reason why
one is missing.

A backend asked for by name and missing is an error; nothing falls back silently.  Without a name
arrays are computed where they are: NumPy arrays by the first usable backend of :data:`ORDER` that
is not one of :data:`GPU`, arrays on a GPU by the first usable of those.  ``KACFLOW_BACKEND`` names
another one for its kind of arrays.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol, get_args

from kacflow_core._layout import Array, Layout

#: The functions of the law; ``x`` are probabilities for "ppf", else places; float32 or float64.
DistributionKind = Literal["pdf", "logpdf", "cdf", "ppf"]
#: An array that a method of a backend writes, all of it; it writes into no other.
Out = Annotated[Array, "written"]


class PointFunction(NamedTuple):
    """A function of the position."""

    results: tuple[str, ...]  #: what each is called in messages
    sixteen_bit: bool = False  #: whether data may be float16 and bfloat16
    parameters: str = "tac"  #: in the order of a job


POINT_FUNCTIONS = {
    "velocity": PointFunction(("velocity",), sixteen_bit=True),
    "velocity_grad": PointFunction(("dv/dx", "dv/dt"), sixteen_bit=True),
    **{kind: PointFunction((kind,)) for kind in get_args(DistributionKind)},
    "transport": PointFunction(("transport",), parameters="tacs"),
}


class Backend(Protocol):
    """What a backend provides.

    Data arrays are NumPy, flat, C-contiguous and not empty; parameters are 2-D, float32 or float64,
    with ``n0`` or 1 rows and ``n1`` or 1 columns (:mod:`kacflow_core._layout`; ``full_rows`` there
    broadcasts them).  Inputs are already validated; outputs are written in place.

    A backend may have one more method, ``philox(seed, counter, block, stream)``, that returns the
    four words of its generator: :mod:`kacflow_core.testing` then compares them with known answers.
    It may have those of :class:`Transport` and :class:`Splines`.
    """

    name: str

    def sample(
        self, out: Out, layout: Layout, t: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None: ...  # fmt: skip

    def sample_pair(
        self, x_0: Array, x_t: Out, dx_t: Out, layout: Layout, a: Array, c: Array,
        signal: Array, dsignal: Array, clock: Array, dclock: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None: ...  # fmt: skip

    def velocity(
        self, x: Array, out: Out, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None: ...

    def velocity_grad(
        self, x: Array, dv_dx: Out, dv_dt: Out, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None: ...  # fmt: skip

    def sample_path(
        self, positions: Out, directions: Out, layout: Layout, times: Array, a: Array, c: Array,
        *, seed: int, offset: int, threads: int,
    ) -> None:  # fmt: skip
        """Elements are paths; ``times`` is (n0 or 1, n1 or 1, T), of the working type and unit
        stride along T, and the results are flat arrays of ``layout.size * T`` numbers."""

    def simulate_events(
        self, layout: Layout, t_max: Array, a: Array, *, seed: int, offset: int, threads: int
    ) -> tuple[Array, Array, Array]:
        """The fields of :class:`kacflow_core.Events`, all flat."""

    def distribution(
        self, kind: DistributionKind, x: Array, out: Out, layout: Layout,
        t: Array, a: Array, c: Array, *, threads: int,
    ) -> None: ...  # fmt: skip


class Transport(Protocol):
    """What a backend with ``kacflow_core.transport`` provides as well."""

    def transport(
        self, x: Array, out: Out, layout: Layout, t: Array, s: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None: ...  # fmt: skip


class Splines(Protocol):
    """What a backend with splines (:mod:`kacflow_core._spline`) provides as well; for one without
    them the torch layer composes them of torch's operators.

    Data are float32 or float64, row (i0, i1) belongs to spline i1, and knots are C-contiguous
    arrays (n1, bins + 1) of the same type.
    """

    def spline(
        self, x: Array, y: Out, slope: Out, layout: Layout, edges: Array, values: Array,
        slopes: Array, *, threads: int,
    ) -> None: ...  # fmt: skip

    def spline_inverse(
        self, y: Array, x: Out, layout: Layout, edges: Array, values: Array, slopes: Array,
        *, threads: int,
    ) -> None: ...  # fmt: skip

    def spline_grad(
        self, x: Array, grad_y: Array, grad_slope: Array, grad_x: Out, grad_knots: Out,
        layout: Layout, edges: Array, values: Array, slopes: Array, *, threads: int,
    ) -> None:  # fmt: skip
        """``grad_knots`` is (n1, 3, bins + 1): the gradients in edges, values and slopes."""


class AtPoints:
    """These methods of :class:`Backend`, :class:`Transport` and :class:`Splines`, by two that take
    the operation.
    """

    def _point(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        rows: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        """A function of the position; ``rows`` are t, a and c, and of the transport s."""
        raise NotImplementedError

    def _at_knots(
        self, operation: str, layout: Layout, x: Array, outputs: Sequence[Array],
        knots: Sequence[Array], threads: int,
    ) -> None:  # fmt: skip
        """``"spline"`` or ``"spline_inverse"``."""
        raise NotImplementedError

    def velocity(
        self, x: Array, out: Array, layout: Layout, t: Array, a: Array, c: Array, *, threads: int
    ) -> None:
        self._point("velocity", layout, x, [out], [t, a, c], threads)

    def velocity_grad(
        self, x: Array, dv_dx: Array, dv_dt: Array, layout: Layout, t: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._point("velocity_grad", layout, x, [dv_dx, dv_dt], [t, a, c], threads)

    def distribution(
        self, kind: DistributionKind, x: Array, out: Array, layout: Layout,
        t: Array, a: Array, c: Array, *, threads: int,
    ) -> None:  # fmt: skip
        self._point(kind, layout, x, [out], [t, a, c], threads)

    def transport(
        self, x: Array, out: Array, layout: Layout, t: Array, s: Array, a: Array, c: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._point("transport", layout, x, [out], [t, a, c, s], threads)

    def spline(
        self, x: Array, y: Array, slope: Array, layout: Layout, edges: Array, values: Array,
        slopes: Array, *, threads: int,
    ) -> None:  # fmt: skip
        self._at_knots("spline", layout, x, [y, slope], [edges, values, slopes], threads)

    def spline_inverse(
        self, y: Array, x: Array, layout: Layout, edges: Array, values: Array, slopes: Array,
        *, threads: int,
    ) -> None:  # fmt: skip
        self._at_knots("spline_inverse", layout, y, [x], [edges, values, slopes], threads)


#: The methods that a backend may do without.
OPTIONAL = ("transport", "spline", "spline_inverse", "spline_grad")


class MissingMethod(ValueError):
    """A backend without the method that a call needs."""

    def __init__(self, backend: str, method: str) -> None:
        super().__init__(f"backend {backend!r} has no method {method}")
        self.method = method


def method(backend: Any, name: str) -> Callable[..., Any]:
    """A method of a backend; :class:`MissingMethod` if it has none."""
    found: Callable[..., Any] | None = getattr(backend, name, None)
    if found is None:
        raise MissingMethod(backend.name, name)
    return found


#: Names, fastest first.
ORDER = ("cuda", "cupy", "native", "numba", "reference")

#: Those that compute on a GPU.  NumPy arrays are copied there and back if one is asked for by name.
GPU = ("cuda", "cupy")

_factories: dict[str, Callable[[], Backend]] = {}
_loaded: dict[str, Backend] = {}
_reasons: dict[str, str] = {}
_default: Backend | None = None
_gpu_default: Any = None


def register_backend(name: str, factory: Callable[[], Backend] | None) -> None:
    """Add a backend of the user's own under ``name``, or remove it with ``factory=None``.

    It is loaded on first use and then usable as ``backend=name`` and in
    :func:`kacflow_core.testing.check_backend`; it is never chosen by default.
    """
    if name in ORDER:
        raise ValueError(f"name: {name!r} is a built-in backend; choose another name")
    _loaded.pop(name, None)
    _reasons.pop(name, None)
    if factory is None:
        _factories.pop(name, None)
    else:
        _factories[name] = factory


def _load(name: str) -> Backend | None:
    if name in _loaded:
        return _loaded[name]
    if name in _reasons:
        return None
    try:
        if name in _factories:
            backend = _factories[name]()
        else:
            backend = importlib.import_module(f"kacflow_core.backends.{name}").load()
    except ImportError as error:
        _reasons[name] = str(error)
        return None
    return _loaded.setdefault(name, backend)  # another thread may have been faster


def get_backend(name: str | None = None) -> Backend:
    """The backend called ``name``, or the default one.

    TypeError or ValueError if ``name`` is not a string, or not a known backend; RuntimeError, which
    says why, if that backend is known but cannot be used here.
    """
    global _default
    if name is None:
        if _default is None:
            wanted = os.environ.get("KACFLOW_BACKEND")
            host = [name for name in ORDER if name not in GPU]
            _default = get_backend(wanted) if wanted and wanted not in GPU else _first(host)
        return _default
    found = _loaded.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    if not isinstance(name, str):
        raise TypeError(f"backend: got {type(name).__name__}; allowed: a name or None")
    if name not in ORDER and name not in _factories:
        raise ValueError(f"backend: got {name!r}; allowed: {', '.join((*ORDER, *_factories))}")
    backend = _load(name)
    if backend is None:
        raise RuntimeError(f"backend {name!r} cannot be used here: {_reasons[name]}")
    return backend


def get_gpu_backend(name: str | None = None) -> Any:
    """The backend for arrays on a GPU: ``name``, or the default one.

    Errors as of :func:`get_backend`; also ValueError for a backend that does not compute on a GPU.
    """
    global _gpu_default
    if name is None:
        if _gpu_default is None:
            wanted = os.environ.get("KACFLOW_BACKEND")
            _gpu_default = get_backend(wanted) if wanted in GPU else _first(GPU)
        return _gpu_default
    backend = get_backend(name)
    if getattr(backend, "host", True):
        raise ValueError(
            f"backend: got {name!r}, which does not compute on a GPU, where the arrays are; "
            f"allowed: {', '.join(GPU)}"
        )
    return backend


def _first(names: Sequence[str]) -> Backend:
    for name in names:
        backend = _load(name)
        if backend is not None:
            return backend
    reasons = "; ".join(f"{name}: {_reasons[name]}" for name in names)
    raise RuntimeError(f"no backend can be used here ({reasons})")


def available_backends() -> list[str]:
    """Names of the backends usable here, fastest first.

    Examples
    --------
    >>> import kacflow_core
    >>> "reference" in kacflow_core.available_backends()
    True
    """
    return [name for name in ORDER if _load(name) is not None]


def backend_reasons() -> dict[str, str]:
    """For each backend that cannot be used here, the reason."""
    return {name: _reasons[name] for name in ORDER if _load(name) is None}


def native_module() -> Any:
    """The compiled module; ImportError with the reason where there is none."""
    return importlib.import_module("kacflow_core._native")


def cuda_module() -> Any:
    """The compiled GPU kernels; ImportError with the reason where there are none."""
    return importlib.import_module("kacflow_core._cuda")
