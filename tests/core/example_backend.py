"""A backend of one's own: the whole interface in plain NumPy, written from the published formulas.

Everything is computed in float64 on whole arrays and rounded once to the data's type.  To use it::

    from kacflow_core.testing import check_backend, register_backend

    register_backend("example", ExampleBackend)
    print(check_backend("example"))
    x = kacflow_core.sample(0.5, (1000,), a=9.0, c=3.0, seed=0, backend="example")

or, from the command line, ``python -m kacflow_core.testing --import example_backend --backend
example``: importing this file registers it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kacflow_core.reference import bessel_ratio
from kacflow_core.testing import register_backend

U64 = np.uint64


class Noise(NamedTuple):
    """A draw of every element; arrays (n,)."""

    xi: np.ndarray  #: K/(c t)
    one_minus_xi2: np.ndarray
    atom: np.ndarray
    odd: np.ndarray  #: an odd number of turns


class ExampleBackend:
    """The methods of ``kacflow_core._dispatch.Backend``, and the optional ``philox``."""

    name = "example"
    multipliers = 0xD2511F53, 0xCD9E8D57
    weyl = 0x9E3779B9, 0xBB67AE85
    event_stream = 2**32 - 1

    # --- what the interface asks for: fill the output arrays -------------------------------------

    def philox(self, seed, counter, block, stream):
        return self.words(seed, np.array([counter], dtype=U64), block, stream)[:, 0]

    def sample(self, out, layout, t, a, c, *, seed, offset, threads):
        t, a, c = self.per_element(layout, out.dtype, t, a, c)
        edge = (c * t).astype(out.dtype)
        self.store(edge * self.noise(seed, offset, out.dtype, a, t).xi, out)

    def sample_pair(
        self, x_0, x_t, dx_t, layout, a, c, signal, dsignal, clock, dclock,
        *, seed, offset, threads,
    ):  # fmt: skip
        working = self.working(x_0.dtype)
        a, c, f, df, t, dg = self.per_element(layout, working, a, c, signal, dsignal, clock, dclock)
        noise = self.noise(seed, offset, working, a, t)
        data, edge = self.load(x_0), (c * t).astype(working)
        with np.errstate(all="ignore"):
            self.store(f * data + edge * noise.xi, x_t)
            self.store(df * data + dg * c * self.noise_velocity(noise, a * t), dx_t)

    def velocity(self, x, out, layout, t, a, c, *, threads):
        self.store(self.slopes(x, layout, t, a, c)[0], out)

    def velocity_grad(self, x, dv_dx, dv_dt, layout, t, a, c, *, threads):
        _, dx, dt = self.slopes(x, layout, t, a, c)
        self.store(dx, dv_dx)
        self.store(dt, dv_dt)

    def sample_path(self, positions, directions, layout, times, a, c, *, seed, offset, threads):
        working = positions.dtype
        grid = self.per_path(layout, times)
        a, c = self.per_element(layout, working, a, c)
        out, out_directions = (v.reshape(layout.size, -1) for v in (positions, directions))
        before, place = np.zeros(layout.size, working), np.zeros(layout.size)
        here, direction = before, np.ones(layout.size)
        for j in range(grid.shape[1]):
            length = grid[:, j].astype(float) - before
            cone = c.astype(working) * (grid[:, j] - before)
            xi, direction = self.step(seed, offset, working, a, length, j, direction)
            place = place + c * length * xi
            target = place if j else cone * xi  # the first position is that of `sample`
            here = self.limited(here, target.astype(working), cone)
            out[:, j], out_directions[:, j], before = here, direction, grid[:, j]

    def simulate_events(self, layout, t_max, a, *, seed, offset, threads):
        t_max, a = self.per_element(layout, np.float64, t_max, a)
        width = int(np.max(2 * a * t_max)) + 50
        times = np.cumsum(self.waits(seed, offset, a.size, width) / a[:, None], axis=1)
        while np.any(times[:, -1] <= t_max):
            width *= 2
            times = np.cumsum(self.waits(seed, offset, a.size, width) / a[:, None], axis=1)
        known = self.until(times, t_max)
        offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
        first = self.words(seed, self.counters(offset, a.size), 0, self.event_stream)[0]
        return times[known], offsets, np.where(first >= 2**31, 1.0, -1.0)

    def distribution(self, kind, x, out, layout, t, a, c, *, threads):
        t, a, c = self.per_element(layout, x.dtype, t, a, c)
        edge = (c * t).astype(x.dtype).astype(float)
        function = {"pdf": self.pdf, "logpdf": self.logpdf, "cdf": self.cdf, "ppf": self.ppf}[kind]
        with np.errstate(all="ignore"):
            self.store(function(x.astype(float), edge, t, a, c), out)

    def transport(self, x, out, layout, t, s, a, c, *, threads):
        t, s, a, c = self.per_element(layout, x.dtype, t, s, a, c)
        edge, end = ((c * v).astype(x.dtype).astype(float) for v in (t, s))
        with np.errstate(all="ignore"):
            self.store(self.moved(x.astype(float), edge, end, t, s, a, c), out)

    # --- arrays ----------------------------------------------------------------------------------

    def working(self, dtype):
        return np.float64 if dtype == np.float64 else np.float32

    def per_element(self, layout, working, *parameters):
        """Each parameter, rounded to the working type, as one float64 per element."""
        index = np.arange(layout.size) // layout.inner
        i0, i1 = index // layout.n1, index % layout.n1
        shape = layout.n0, layout.n1
        rounded = [p.astype(working).astype(np.float64) for p in parameters]
        return [np.broadcast_to(p, shape)[i0, i1] for p in rounded]

    def per_path(self, layout, times):
        """The time grid of each path, (n, T)."""
        index = np.arange(layout.size) // layout.inner
        grids = np.broadcast_to(times, (layout.n0, layout.n1, times.shape[-1]))
        return grids[index // layout.n1, index % layout.n1]

    def load(self, data):
        """Data as float64; bfloat16 is the upper half of a float32."""
        if data.dtype.itemsize == 2 and data.dtype != np.float16:
            data = (data.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
        return data.astype(np.float64)

    def store(self, values, out):
        """Round to the working type and from there to the stored one, to nearest even."""
        with np.errstate(all="ignore"):
            values = values.astype(self.working(out.dtype))
            if out.dtype.itemsize > 2 or out.dtype == np.float16:
                out[...] = values
                return
        bits: Any = values.view(np.uint32).astype(U64)
        bits = (bits + U64(0x7FFF) + (bits >> U64(16) & U64(1))) >> U64(16)
        out.view(np.uint16)[...] = np.where(np.isnan(values), 0x7FC0, bits)

    # --- the generator ---------------------------------------------------------------------------

    def words(self, seed, counters, block, stream=0):
        """Philox4x32-10: four words of 32 bits for each counter, uint64 (4, n)."""
        mask, half = U64(2**32 - 1), U64(32)
        c0, c1 = counters & mask, counters >> half
        c2, c3 = np.full_like(c0, block), np.full_like(c0, stream)
        k0, k1 = seed % 2**32, seed // 2**32
        for _ in range(10):
            p0, p1 = U64(self.multipliers[0]) * c0, U64(self.multipliers[1]) * c2
            c0, c2 = (p1 >> half) ^ c1 ^ U64(k0), (p0 >> half) ^ c3 ^ U64(k1)
            c1, c3 = p1 & mask, p0 & mask
            k0, k1 = (k0 + self.weyl[0]) % 2**32, (k1 + self.weyl[1]) % 2**32
        return np.stack([c0, c1, c2, c3])

    def counters(self, offset, n):
        with np.errstate(over="ignore"):  # past 2^64 the counter wraps to 0
            return U64(offset) + np.arange(n, dtype=U64)

    # --- the endpoint map ------------------------------------------------------------------------

    def noise(self, seed, offset, working, a, t, stream=0):
        """The closed-form map of three uniforms to xi = K/(c t)."""
        counters = self.counters(offset, a.size)
        w0, w1, w2, _ = self.words(seed, counters, 0, stream)
        bits, n1, turn = 32, w1 >> U64(1), w2 << U64(32)
        ones = U64(2**31 - 1)
        if working == np.float64:  # block 1 has the low halves
            v0, v1, v2, _ = self.words(seed, counters, 1, stream)
            bits, n1, turn = 64, (w1 >> U64(1)) << U64(31) | v1 >> U64(1), turn | v2
            ones, w0 = U64(2**62 - 1), w0 << U64(32) | v0
        u1 = (2.0 * n1 + 1.0) / (2.0 * ones + 2.0)
        rest = (2.0 * (ones - n1) + 1.0) / (2.0 * ones + 2.0)  # 1 - u1
        # 2 u2 modulo 1, in [-1/2, 1/2), and the sign of cos(2 pi u2).
        fraction = (turn << U64(1) | U64(1 << (64 - bits))).view(np.int64) * 2.0**-64
        sign = np.where((turn + U64(2**62)) >> U64(63), -1.0, 1.0)
        sine, cosine = np.sin(np.pi * fraction), np.cos(np.pi * fraction)

        with np.errstate(all="ignore"):
            atom, even, w = self.cases(w0, bits, a * t)
            s, less_s = self.radius(np.maximum(a * t, 1e-30), w, u1, rest)
            rho2 = less_s * (1.0 + s)  # 1 - S^2
            xi = np.where(atom, sign, sign * np.sqrt(rho2) * cosine)
            one_minus_xi2 = np.where(atom, 0.0, s**2 + rho2 * sine**2)
            return Noise(xi, one_minus_xi2, atom, ~atom & ~even)

    def cases(self, word, bits, tau):
        """Atoms, even cases and the place w among these (1: odd), from integer counts.

        Words count from below: atoms, odd, even; a count is taken from the end it is nearer to.
        """
        q, p = np.exp(-tau), -np.expm1(-tau)
        late, top = q < 0.5, U64(2**bits - 1) - word

        def count(share):
            return np.rint(np.ldexp(share, bits)).astype(U64)

        atom = np.where(
            late, word < count(np.where(late, q, 0)), top >= count(np.where(late, 0, p))
        )
        above = np.maximum(count(np.where(late, q * (1 - q / 2), 0)), U64(1))
        even = np.where(late, U64(2 ** (bits - 1)) - above, count(np.where(late, 0, p * p / 2)))
        is_even = ~atom & (top < even)
        place = np.where(is_even, even - U64(1) - np.minimum(top, even - U64(1)), U64(0))
        return atom, is_even, np.where(is_even, (2.0 * place + 1.0) / (2.0 * even), 1.0)

    def radius(self, tau, w, u1, rest):
        """S and 1 - S of sinh(tau' S) = u1 sinh tau', sinh(tau'/2) = sqrt(w) sinh(tau/2)."""
        half = np.sqrt(w) * np.sinh(np.minimum(tau, 300.0) / 2)
        a, b = 1.0 + 2.0 * half**2, 2.0 * half * np.sqrt(1.0 + half**2)
        tau_prime = 2.0 * np.arcsinh(half)
        x = u1 * b
        q = np.hypot(1.0, x)
        r = x + q
        s = np.arcsinh(x) / tau_prime
        less_s = np.log1p(b * rest * (a + b + r) / ((a + q) * r)) / tau_prime
        far = -np.where(u1 < 0.5, np.log(u1), np.log1p(-rest)) / (tau + np.log(w))
        less_s = np.where(tau > 300.0, far, less_s)
        near_one = less_s < 0.5
        return np.where(near_one, 1.0 - less_s, s), np.where(near_one, less_s, 1.0 - s)

    # --- paths -----------------------------------------------------------------------------------

    def step(self, seed, offset, working, a, length, j, direction):
        """One interval: the displacement over c times its length, and the direction at its end."""
        noise = self.noise(seed, offset, working, a, length, j)
        xi, odd, coin = noise.xi, noise.odd, self.coin(seed, offset, a.size, j)
        sign = np.where(self.against(noise, self.u3(seed, offset, working, a.size, j)), -1.0, 1.0)
        if j == 0:  # the first direction given the displacement, by Bayes' rule
            return xi, np.where(odd, coin, sign * np.sign(xi))
        eta = np.where(odd, xi, sign * np.abs(xi))
        return direction * eta, np.where(odd, -direction, direction)

    def coin(self, seed, offset, n, j):
        return np.where(self.words(seed, self.counters(offset, n), 0, j)[3] >= 2**31, 1.0, -1.0)

    def u3(self, seed, offset, working, n, j):
        counters = self.counters(offset, n)
        top = self.words(seed, counters, 0, j)[3] >> U64(1)
        if working == np.float32:
            return (top + 0.5) * 2.0**-31
        low = self.words(seed, counters, 1, j)[3] >> U64(1)
        return (2.0 * (top << U64(31) | low) + 1.0) * 2.0**-63

    def against(self, noise, u3):
        """Even turns that lead against the direction: (1 - |xi|)/2 of them, no atom."""
        return u3 < noise.one_minus_xi2 / (2.0 * (1.0 + np.abs(noise.xi)))

    def limited(self, start, target, cone):
        """The number nearest to target that c times the interval allows, in exact arithmetic."""
        info = np.finfo(cone.dtype)
        cap = np.maximum(cone - 4 * info.epsneg * cone - 2 * info.smallest_subnormal, 0)
        step = np.where(target > start, cap, -cap)
        edge = start + step
        taken = edge - start
        error = (start - (edge - taken)) + (step - taken)  # of the sum: Knuth's TwoSum
        beyond = np.where(step > 0, error < 0, error > 0)
        edge = np.where(beyond, np.nextafter(edge, start), edge)
        return np.where(target > start, np.minimum(target, edge), np.maximum(target, edge))

    def waits(self, seed, offset, n, width):
        """-ln u, u = (2 k + 1) 2^-53 with k the top 52 bits of a pair of words; (n, width)."""
        counters = self.counters(offset, n)
        waits = np.empty((n, width + width % 2))
        for m in range(0, width, 2):
            words = self.words(seed, counters, 1 + m // 2, self.event_stream)
            for i in (0, 1):
                bits = (words[2 * i] << U64(32) | words[2 * i + 1]) >> U64(12)
                waits[:, m + i] = -np.log((2.0 * bits + 1.0) * 2.0**-53)
        return waits

    def until(self, times, t_max):
        return times <= t_max[:, None]

    # --- the law ---------------------------------------------------------------------------------

    def integrals(self, tau, xi, zeta):
        """A = e^-z (I0(z) + tau I1(z)/z) and M: the density is a/(2 c) e^-D A, and F e^-D M/2.

        z = tau zeta and D = tau - z.  Bessel's integral for I0, and Cauchy's for the number of
        turns to the right less those to the left, by the midpoint rule on a circle::

            e^-z I0 = 1/(2 pi) int e^(-z (1 - cos th)) d th
            M       = 1/(2 pi) int e^(-z (1 - cos th)) xi/(1 - zeta cos th) d th

        with the residue of the pole of M where that is nearer than the saddle point of the error.
        """
        nodes, digits = 24, 40.0  # e^-40 is left out on either side
        z, delta = tau * zeta, xi**2 / (1 + zeta)
        n = np.maximum(2.0 * nodes, np.sqrt(2 * digits * (z + digits / 6)))
        bessel, tail = np.zeros((2, *z.shape))
        for j in range(nodes):
            versine = 2 * np.sin(np.pi * (j + 0.5) / n) ** 2
            e = np.exp(-z * versine)
            bessel += 2 / n * e
            tail += 2 / n * e * xi / (delta + zeta * versine)
        turns = n * np.log1p(np.minimum((xi + delta) / zeta, 1e100))
        pole = 2 * np.exp(tau * delta - turns) / (1 + np.exp(-turns))
        tail += np.where(tau * xi < n, pole, 0)
        return bessel * (1 + tau / bessel_ratio(z).q), tail

    def place(self, x, t, a, c):
        """tau, xi, zeta = sqrt(1 - xi^2) and D of a place, held within the cone."""
        tau, ct = a * t, np.where(t > 0, c * t, 1.0)
        gap = np.maximum(self.product_minus(c, t, np.abs(x)), 0.0)
        xi, zeta = np.abs(x) / ct, np.sqrt(gap / ct * (1 + np.abs(x) / ct))
        zeta = np.where(t > 0, zeta, 1.0)
        return tau, xi, zeta, tau * xi**2 / (1 + zeta)

    def pdf(self, x, edge, t, a, c):
        tau, xi, zeta, decay = self.place(x, t, a, c)
        inside = a / (2 * c) * np.exp(-decay) * self.integrals(tau, xi, zeta)[0]
        return np.where(np.abs(x) > edge, 0.0, inside)

    def logpdf(self, x, edge, t, a, c):
        tau, xi, zeta, decay = self.place(x, t, a, c)
        inside = np.log(a / (2 * c) * self.integrals(tau, xi, zeta)[0]) - decay
        return np.where(np.abs(x) > edge, -np.inf, inside)

    def atom(self, t, a):
        """e^-tau/2, with the rounding of tau = a t made good."""
        return 0.5 * np.exp(-a * t) * (1 - self.product_minus(a, t, a * t))

    def cdf(self, x, edge, t, a, c):
        tau, xi, zeta, decay = self.place(x, t, a, c)
        tail = 0.5 * np.exp(-decay) * self.integrals(tau, xi, zeta)[1]
        low = np.maximum(tail, self.atom(t, a))
        inside = np.where(x > 0, 1 - low, low)
        left = np.where(x < -edge, 0.0, self.atom(t, a))
        return np.where(x >= edge, 1.0, np.where(x <= -edge, left, inside))

    def newton(self, tau, goal):
        """The xi where log 2F is ``goal``."""
        delta = np.minimum(-goal / tau, 1.0)
        xi = np.sqrt(delta * (2 - delta))
        for _ in range(6):
            zeta = np.sqrt((1 - xi) * (1 + xi))
            density, tail = self.integrals(tau, xi, zeta)
            gap = np.log(tail) - tau * xi**2 / (1 + zeta) - goal
            xi = np.clip(xi + gap * tail / (tau * density), 0.0, 1.0)
        return xi

    def ppf(self, q, edge, t, a, c):
        """Newton's iteration on log F, which is concave: from e^-D/2 = q it climbs to the root."""
        tau, low = a * t, np.minimum(q, 1 - q)
        xi = self.newton(tau, np.log(2 * low))
        distance = self.clamped(low, self.atom(t, a), edge, xi)
        return np.where(low == 0.5, 0.0, np.where(q < 0.5, -distance, distance))

    def middle(self, x, t, a, c):
        """2 P(0 < K < |x|), an integral of the density over which it changes little: a t <= 1."""
        nodes, weights = np.polynomial.legendre.leggauss(12)
        total = 0.0
        for node, weight in zip(nodes, weights, strict=True):
            place = np.abs(x) * (0.5 + 0.5 * node)
            total = total + weight * self.pdf(place, np.inf, t, a, c)
        return np.abs(x) * total

    def moved(self, x, edge, end, t, s, a, c):
        """Newton's iteration on log F, or for a s <= 1 on 1 - 2 F."""
        tau, xi, zeta, decay = self.place(x, t, a, c)
        log_2f = np.log(self.integrals(tau, xi, zeta)[1]) - decay
        near = np.minimum(t, 1 / a)
        middle = self.middle(np.minimum(np.abs(x), c * near), near, a, c)
        middle = np.where(tau <= 1, middle, -np.expm1(log_2f))
        log_2f = np.where(tau <= 1, np.log1p(-middle), log_2f)
        far, close = self.newton(a * s, log_2f), np.ones_like(x)
        near = np.minimum(s, 1 / a)
        for _ in range(6):
            place = close * c * near
            slope = 2 * c * near * self.pdf(place, np.inf, near, a, c)
            gap = middle - self.middle(place, near, a, c)
            close = np.clip(close + gap / slope, 0.0, 1.0)
        small = a * s <= 1
        atom = np.where(small, middle >= -np.expm1(-a * s), log_2f <= -a * s)
        distance = np.minimum(end * np.where(small, close, far), end)
        distance = np.where(atom | (np.abs(x) >= edge), end, distance)
        return np.where(np.isnan(x), x, np.sign(x) * distance)

    def clamped(self, low, atom, edge, xi):
        return np.where(low <= atom, edge, edge * xi)

    # --- the velocity ----------------------------------------------------------------------------

    def noise_velocity(self, noise, tau):
        """v/c at a draw, from its own 1 - xi^2 and its own atom."""
        q = bessel_ratio(tau * np.sqrt(noise.one_minus_xi2)).q
        return np.where(noise.atom, noise.xi, tau * noise.xi / (tau + q))

    def slopes(self, x, layout, t, a, c):
        """v, dv/dx and dv/dt at every element."""
        working = self.working(x.dtype)
        t, a, c = self.per_element(layout, working, t, a, c)
        place, edge = self.load(x), (c * t).astype(working)
        with np.errstate(all="ignore"):
            gap = np.maximum(self.product_minus(c, t, np.abs(place)), 0.0)
            z = a / c * np.sqrt(gap * (c * t + np.abs(place)))
            q, rho = bessel_ratio(z)
            tau, y = a * t, a * place / c
            v = a * place / (tau + q)
            dx = a / (tau + q) * (1.0 + y * rho * (y / (tau + q)))
            dt = -a * c * y / (tau + q) * ((1.0 + tau * rho) / (tau + q))
        atom = np.abs(place) >= edge
        return (
            np.where(atom, c * np.sign(place), v),
            np.where(atom, 0.0, dx),
            np.where(atom, 0.0, dt),
        )

    def product_minus(self, c, t, x):
        """c t - x with the product exact (Dekker 1971), for the gap to the edge of the cone."""

        def split(number):
            high = number * (2.0**27 + 1)
            high = high - (high - number)
            return high, number - high

        (c1, c0), (t1, t0) = split(c), split(t)
        product = c * t
        return (product - x) + (((c1 * t1 - product) + c1 * t0 + c0 * t1) + c0 * t0)


register_backend("example", ExampleBackend)
