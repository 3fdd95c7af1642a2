"""Checks of ``sample`` and ``sample_pair``: the generator, the map, the pair made with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from kacflow_core import reference
from kacflow_core._layout import Array
from kacflow_core._validate import LIMITS
from kacflow_core.reference import pair, philox, sampler
from kacflow_core.testing import _vectors, strategies
from kacflow_core.testing._compare import equal, within
from kacflow_core.testing._subject import Subject

DTYPES = ("float32", "float64")

KEYS: dict[str, Any] = {"seed": strategies.seeds(), "offset": strategies.offsets()}

#: Largest error of K/(c t), in units of min(1, tau^-1/2).
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}


def allowed_xi(tau: Array, dtype: str) -> Array:
    """Largest error of xi = K/(c t)."""
    return TOLERANCE[dtype] * np.minimum(1.0, np.maximum(tau, 1e-300) ** -0.5)


def beyond(first: int, dtype: str) -> Array:
    """Just below every decade of tau from 10^first to the largest that is accepted."""
    last = round(np.log10(LIMITS[np.dtype(dtype)].tau))
    return 0.999 * 10.0 ** np.arange(first, last + 1)


def philox_vectors(core: Subject) -> None:
    """The words of the generator, and draws made of them, are the known answers."""
    generate = getattr(core.backend, "philox", None)
    if generate is not None:
        for vector in _vectors.words_vectors():
            *key, words = vector
            answer = tuple(int(word) for word in generate(*key))
            assert answer == words, (
                f"philox(seed, counter, block, stream) of {tuple(map(hex, key))} gives "
                f"{[hex(w) for w in answer]}, expected {[hex(w) for w in words]}"
            )
    for dtype in DTYPES:
        vectors = _vectors.uniforms_vectors(dtype)
        u = _vectors.to_uniforms(vectors)
        for tau in (0.5, 9.0, 300.0):
            want = sampler.endpoint(u, tau, 1.0).xi
            got = np.array(
                [
                    core.sample(1.0, 1, a=tau, c=1.0, seed=v.seed, offset=v.counter, dtype=dtype)[0]
                    for v in vectors
                ]
            )
            off = np.flatnonzero(~(np.abs(got - want) <= allowed_xi(np.asarray(tau), dtype)))
            assert not off.size, (
                f"{off.size} of {got.size} {dtype} draws at a = {tau}, t = c = 1 are not those of "
                f"the known words; seed {vectors[off[0]].seed:#x}, offset "
                f"{vectors[off[0]].counter:#x} gives {got[off[0]]!s}, expected {want[off[0]]:.17g}"
            )


def sample_error(core: Subject) -> None:
    """K/(c t) is that of the reference, to 1e-5 (float32), 1e-11 (float64) min(1, tau^-1/2)."""

    def holds(dtype: str, tau: float, t: float, c: float, seed: int, offset: int) -> None:
        t, c, a = (float(np.dtype(dtype).type(p)) for p in (t, c, tau / t))
        got = core.sample(t, 60, a=a, c=c, seed=seed, offset=offset, dtype=dtype)
        want = reference.sample(t, 60, a=a, c=c, seed=seed, offset=offset, dtype=dtype)
        bound = c * t * allowed_xi(np.asarray(a * t), dtype)
        within(got, want, bound, f"{dtype} draws at a t = {a * t:g}")

    for dtype in DTYPES:
        # Every hundredth of a decade, where a formula may change its form; then to the end of the
        # range, with a t a product that is rounded.
        for t, tau in ((1.0, 10.0 ** np.linspace(-6, 6, 1201)), (0.6875, beyond(7, dtype))):
            a = (tau / t).astype(dtype)
            got = core.sample(t, (a.size, 4), a=a, c=1.0, seed=5, dtype=dtype)
            want = reference.sample(t, (a.size, 4), a=a, c=1.0, seed=5, dtype=dtype)
            bound = t * allowed_xi(a * np.float64(t), dtype)[:, None]
            within(got, want, bound, f"{dtype} draws at a t from {tau[0]:g} to {tau[-1]:g}")
    keys = {"t": strategies.times(), "c": strategies.speeds(), **KEYS}
    core.search(holds, dtype=strategies.dtypes(), tau=strategies.taus(), **keys)


def atoms(core: Subject) -> None:
    """Draws without a turn are exactly +-c t rounded, no other draw leaves the light cone."""

    def holds(dtype: str, tau: float, t: float, c: float, seed: int, offset: int) -> None:
        kind = np.dtype(dtype).type
        t, c, a = (float(kind(p)) for p in (t, c, tau / t if t else tau))
        got = core.sample(t, 60, a=a, c=c, seed=seed, offset=offset, dtype=dtype)
        u = philox.uniforms(seed, philox.counters(offset, 60), dtype)
        xi, _, atom = sampler.endpoint(u, a, t)
        edge = kind(c) * kind(t)
        assert np.all(np.abs(got) <= edge), (
            f"{dtype} draw {np.abs(got).max()!s} lies outside the light cone, c t = {edge!s}"
        )
        equal(got[atom], (edge * xi[atom]).astype(dtype), f"{dtype} atoms")
        turned = ~atom & (np.abs(xi) < 1.0 - 1e-4)
        assert np.all(np.abs(got[turned]) < edge), f"{dtype}: a draw that turned is at the edge"

    t, tau = st.one_of(strategies.times(), st.just(0.0)), strategies.taus(low=1e-3, high=4.0)
    core.search(holds, dtype=strategies.dtypes(), tau=tau, t=t, c=strategies.speeds(), **KEYS)


def case_probabilities(core: Subject) -> None:
    """Atom, odd and even numbers of turns have their probabilities, to 2^-32 and 2^-48."""
    n = 20_000
    for dtype in DTYPES:
        for tau in (0.01, 1.0, 4.0):
            x = core.sample(1.0, n, a=tau, c=1.0, seed=1, dtype=dtype)
            share, expected = np.count_nonzero(np.abs(x) == 1) / n, np.exp(-tau)
            assert abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / n), (
                f"{share:.4f} of {n} {dtype} draws at a t = {tau} have not turned, expected "
                f"e^-(a t) = {expected:.4f}"
            )
        for even in (False, True):
            for step in (-3, -1, 1, 3):
                _check_boundary(core, dtype, even, step)


def _check_boundary(core: Subject, dtype: str, even: bool, step: int) -> None:
    """Draws whose word lies ``step`` steps from where its case changes, one tau per draw.

    A step is one word of 2^32 in float32, and 2^16 words of 2^64 in float64.
    """
    n, seed = 300, 20250620
    u = philox.uniforms(seed, philox.counters(0, n), dtype)
    rest = (2.0**u.bits - 0.5 - u.word.astype(np.float64)) / 2.0**u.bits
    share = rest + step * 2.0 ** (-32 if u.bits == 32 else -48)  # wanted: turned, or even
    reachable = (share > 1e-5) & (share < (0.4999 if even else 0.9999))
    turned = np.sqrt(2 * share[reachable]) if even else share[reachable]
    a, t = _factors(-np.log1p(-turned), dtype)
    rates, times = np.ones(n, dtype), np.ones(n, dtype)
    rates[reachable], times[reachable] = a, t
    want = sampler.endpoint(u, rates.astype(np.float64), times.astype(np.float64))
    got = core.sample(times, n, a=rates, c=1.0, seed=seed, dtype=dtype)
    what = (
        f"{dtype} draws with a word {step} steps from the boundary of the "
        f"{'even cases' if even else 'atoms'}"
    )
    off = np.flatnonzero((np.abs(got) == times) != want.atom)
    assert not off.size, (
        f"{what}: {off.size} of {n} have the wrong case; element {off[0]} at a = {rates[off[0]]!s},"
        f" t = {times[off[0]]!s} should {'' if want.atom[off[0]] else 'not '}be an atom"
    )
    tau = rates.astype(np.float64) * times
    within(got / times.astype(np.float64), want.xi, allowed_xi(tau, dtype), what)


def _factors(tau: Array, dtype: str) -> tuple[Array, Array]:
    """Numbers (a, t) of ``dtype`` whose product is next to tau; arrays (n,)."""
    if dtype == "float64":
        return tau, np.ones_like(tau)
    t = (1 + np.arange(2048) * 2.0**-12).astype(np.float32)
    a = (tau[:, None] / t).astype(np.float32)
    best = np.argmin(np.abs(a.astype(np.float64) * t - tau[:, None]), axis=1)
    return a[np.arange(tau.size), best], t[best]


def float64_refines_float32(core: Subject) -> None:
    """A float64 draw is the float32 draw of the same seed, with more digits."""

    def holds(tau: float, seed: int, offset: int) -> None:
        keys: dict[str, Any] = dict(a=tau, c=1.0, seed=seed, offset=offset)
        coarse = core.sample(1.0, 60, dtype="float32", **keys)
        fine = core.sample(1.0, 60, dtype="float64", **keys)
        # The uniforms agree to 2^-32, which moves xi by at most about sqrt(2^-31), at u1 near 1.
        within(coarse, fine, 3e-5 * min(1.0, tau**-0.5), "float32 against float64 draws")

    core.search(holds, tau=strategies.taus("float32"), **KEYS)


@st.composite
def pair_arguments(draw: Any, dtype: str) -> dict[str, Any]:
    """Data and parameters of every alignment for ``sample_pair``."""
    shape = draw(strategies.shapes())

    def parameter(numbers: Any) -> Array:
        return draw(strategies.parameters(shape, numbers, dtype))

    return {
        "x0": draw(strategies.data(shape, dtype)),
        "a": parameter(strategies.rates(dtype)),
        "c": parameter(strategies.speeds(dtype)),
        "signal": parameter(st.floats(-2, 2, width=32)),
        "dsignal": parameter(st.floats(-20, 20, width=32)),
        "clock": parameter(strategies.times(dtype)),
        "dclock": parameter(st.floats(-4, 4, width=32)),
        **{name: draw(strategy) for name, strategy in KEYS.items()},
    }


def check_pair(core: Subject, arguments: dict[str, Any]) -> None:
    """One pair against the reference.

    v grows with the displacement, so the error allowed to xi brackets it; four units in the last
    place of the terms are added.
    """
    x0, seed, offset = (arguments[name] for name in ("x0", "seed", "offset"))
    dtype = x0.dtype.name
    a, c, f, df, g, dg = (
        sampler.aligned(arguments[name], x0.shape)
        for name in ("a", "c", "signal", "dsignal", "clock", "dclock")
    )
    u = philox.uniforms(seed, philox.counters(offset, x0.size), dtype)
    xi, v = pair.noise(u, a, g)
    tau, ct = a * g, c * g
    atom = sampler.endpoint(u, a, g).atom
    slack = np.where(atom, 0.0, allowed_xi(tau, dtype))
    spread = [np.abs(_velocity(np.clip(xi + side * slack, -1, 1), tau) - v) for side in (-1.0, 1.0)]
    v_error = np.where(atom, 0.0, np.maximum(*spread))
    data, unit = x0.reshape(-1).astype(np.float64), 4 * np.finfo(dtype).eps
    got_x, got_dx = core.sample_pair(**arguments)
    for got, kept, moved, error, name in (
        (got_x, f * data, ct * xi, ct * slack, "x_t"),
        (got_dx, df * data, dg * c * v, np.abs(dg) * c * v_error, "dx_t"),
    ):
        bound = error + unit * (np.abs(kept) + np.abs(moved)) + np.finfo(dtype).tiny
        assert got.shape == x0.shape and got.dtype == x0.dtype, (
            f"{name} has shape {got.shape} and dtype {got.dtype}, the data {x0.shape} and {dtype}"
        )
        within(got.reshape(-1), kept + moved, bound, f"{dtype} {name}")


def _velocity(xi: Array, tau: Array) -> Array:
    """v/c inside the cone, from xi."""
    z = tau * np.sqrt((1.0 - xi) * (1.0 + xi))
    return tau * xi / (tau + reference.bessel_ratio(z).q)


def pair_error(core: Subject) -> None:
    """x_t = f x_0 + K(g) and dx_t = f' x_0 + g' v(g, K(g)) are those of the reference."""

    def holds(arguments: dict[str, Any]) -> None:
        check_pair(core, arguments)

    core.search(holds, arguments=strategies.dtypes().flatmap(pair_arguments))


def pair_draws_the_noise_of_sample(core: Subject) -> None:
    """With f = f' = 0 and g' = 1 the pair is exactly the draw of ``sample``, and v on its atoms."""

    def holds(dtype: str, tau: float, c: float, seed: int, offset: int) -> None:
        c = float(np.dtype(dtype).type(c))
        zero = np.zeros(60, dtype)
        keys: dict[str, Any] = dict(a=tau, c=c, seed=seed, offset=offset)
        x_t, dx_t = core.sample_pair(zero, signal=0.0, dsignal=0.0, clock=1.0, dclock=1.0, **keys)
        noise = core.sample(1.0, 60, dtype=dtype, **keys)
        equal(x_t, noise, f"{dtype} x_t against sample")
        u = philox.uniforms(seed, philox.counters(offset, 60), dtype)
        xi, _, atom = sampler.endpoint(u, float(np.dtype(dtype).type(tau)), 1.0)
        equal(dx_t[atom], (c * xi[atom]).astype(dtype), f"{dtype} velocity of the atoms")

    tau = strategies.taus(low=1e-3, high=1e3)
    core.search(holds, dtype=strategies.dtypes(), tau=tau, c=strategies.speeds(), **KEYS)


def pair_knows_its_atoms(core: Subject) -> None:
    """A draw that turned but rounds to the edge has the interior velocity, not that of an atom."""
    vectors = _vectors.uniforms_vectors("float32")
    xi, _, atom = sampler.endpoint(_vectors.to_uniforms(vectors), 1.0, 1.0)
    edge = np.flatnonzero(~atom & (np.abs(xi) > 1 - 2.0**-25))
    assert edge.size, "no such draw among the known answers"
    for i in edge:
        _, dx_t = core.sample_pair(
            np.zeros(1, np.float32),
            a=1.0, c=1.0, signal=0.0, dsignal=0.0, clock=1.0, dclock=1.0,
            seed=vectors[i].seed, offset=vectors[i].counter,
        )  # fmt: skip
        want = _velocity(xi[i], np.asarray(1.0))
        assert abs(dx_t[0] - want) <= 1e-4, (
            f"seed {vectors[i].seed}, offset {vectors[i].counter}, a = c = clock = 1: dx_t is "
            f"{dx_t[0]!s}, expected {want:.9g}, the velocity inside the cone; was the atom guessed "
            "from a rounded x_t?"
        )


CHECKS = (
    philox_vectors,
    sample_error,
    atoms,
    case_probabilities,
    float64_refines_float32,
    pair_error,
    pair_draws_the_noise_of_sample,
    pair_knows_its_atoms,
)
