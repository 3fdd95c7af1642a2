"""Backends with one defect each, and the check of the conformance suite that finds it."""

from __future__ import annotations

import numpy as np
from broken_backend import BrokenBackend
from example_backend import ExampleBackend
from spline_defects import SPLINE_DEFECTS


class WrongConstant(ExampleBackend):
    """The two multipliers of Philox exchanged."""

    multipliers = ExampleBackend.multipliers[::-1]


class WrongConstantUnseen(WrongConstant):
    """... and its words not shown."""

    philox = None


class OffsetIgnored(ExampleBackend):
    def noise(self, seed, offset, working, a, t, stream=0):
        return super().noise(seed, 0, working, a, t, stream)


class OffsetOf32Bits(ExampleBackend):
    def words(self, seed, counters, block, stream=0):
        return super().words(seed, counters % np.uint64(2**32), block, stream)


class NoWrap(ExampleBackend):
    """Counters from 2^64 on are held at 2^64 - 1."""

    def words(self, seed, counters, block, stream=0):
        wrapped = np.arange(counters.size, dtype=np.uint64) > counters
        counters = np.where(wrapped, np.uint64(2**64 - 1), counters)
        return super().words(seed, counters, block, stream)


class BlocksExchanged(ExampleBackend):
    """float64 takes its high halves from block 1: a float64 draw no longer refines the float32."""

    def noise(self, seed, offset, working, a, t, stream=0):
        self.exchanged = working == np.float64
        return super().noise(seed, offset, working, a, t, stream)

    def words(self, seed, counters, block, stream=0):
        return super().words(seed, counters, 1 - block if self.exchanged else block, stream)


class OnePercentFewerAtoms(ExampleBackend):
    def cases(self, word, bits, tau):
        return super().cases(word, bits, 1.01 * tau)


class TenPercentFewerAtoms(ExampleBackend):
    def cases(self, word, bits, tau):
        return super().cases(word, bits, 1.1 * tau)


class ThresholdInFloat32(ExampleBackend):
    """e^-tau rounded to float32 before it is compared."""

    def cases(self, word, bits, tau):
        rounded = -np.log(np.exp(-tau).astype(np.float32).astype(float))
        return super().cases(word, bits, rounded)


class OnlyAtomsBeyond1e31(ExampleBackend):
    """The rounding error of a t grows with it, and takes the draws along."""

    def cases(self, word, bits, tau):
        atom, even, w = super().cases(word, bits, tau)
        return atom | (tau > 1e31), even, w


class AtomsFromRoundedX(ExampleBackend):
    """The pair takes every draw that rounds to the edge for an atom."""

    def noise_velocity(self, noise, tau):
        atom = np.abs(noise.xi.astype(np.float32)) == 1
        return super().noise_velocity(noise._replace(atom=atom), tau)


class AtomsInside(ExampleBackend):
    """Atoms an ulp inside the edge."""

    def noise(self, seed, offset, working, a, t, stream=0):
        noise = super().noise(seed, offset, working, a, t, stream)
        inside = noise.xi * (1 - np.finfo(working).eps)
        return noise._replace(xi=np.where(noise.atom, inside, noise.xi))


class NoTurningBack(ExampleBackend):
    """Even numbers of turns sampled as odd ones."""

    def cases(self, word, bits, tau):
        atom, even, w = super().cases(word, bits, tau)
        return atom, even, np.ones_like(w)


class VelocityOff(ExampleBackend):
    """Inside the cone 1e-3 too fast."""

    def slopes(self, x, layout, t, a, c):
        v, dx, dt = super().slopes(x, layout, t, a, c)
        limit = self.per_element(layout, self.working(x.dtype), c)[0]
        return np.clip(v * (1 + 1e-3), -limit, limit), dx, dt


class VelocityNotBounded(ExampleBackend):
    """A draw beyond the edge is not held at c."""

    def slopes(self, x, layout, t, a, c):
        v, dx, dt = super().slopes(x, layout, t, a, c)
        t, c = self.per_element(layout, self.working(x.dtype), t, c)
        with np.errstate(all="ignore"):
            return np.where(np.abs(v) < c, v, self.load(x) / t), dx, dt


class VelocityEdgeCancels(ExampleBackend):
    """z^2 from c t rounded: digits are lost at the edge."""

    def product_minus(self, c, t, x):
        return (c * t).astype(np.float32) - x


class VelocityBesideTheEdge(ExampleBackend):
    """A branch of its own for gaps of 1e-12 to 1e-7 of the cone, a thousandth wrong."""

    def product_minus(self, c, t, x):
        gap = super().product_minus(c, t, x)
        branch = (gap > 1e-12 * c * t) & (gap < 1e-7 * c * t)
        return np.where(branch, 1.001 * gap, gap)


class GradientSign(ExampleBackend):
    def slopes(self, x, layout, t, a, c):
        v, dx, dt = super().slopes(x, layout, t, a, c)
        return v, dx, -dt


class TailNotWritten(ExampleBackend):
    """Only whole blocks of eight elements."""

    def store(self, values, out):
        whole = out.size // 8 * 8
        super().store(values[:whole], out[:whole])


class WritesPastTheEnd(ExampleBackend):
    """Whole blocks of eight elements, the last one beyond the array."""

    def store(self, values, out):
        super().store(values, out)
        size = -(-out.size // 8) * 8
        beyond = np.lib.stride_tricks.as_strided(out, (size,), (out.itemsize,))
        beyond[out.size :] = np.zeros((), out.dtype)


class WritesIntoItsInput(ExampleBackend):
    def sample_pair(self, x_0, x_t, dx_t, layout, *rows, **rest):
        super().sample_pair(x_0, x_t, dx_t, layout, *rows, **rest)
        x_0.flags.writeable = True
        x_0 += x_0


class NanLeaks(ExampleBackend):
    """One NaN makes its block of eight elements NaN."""

    def load(self, data):
        values = super().load(data)
        bad = np.add.reduceat(np.isnan(values), np.arange(0, values.size, 8)) > 0
        return np.where(np.repeat(bad, 8)[: values.size], np.nan, values)


class ThreadsDiffer(ExampleBackend):
    """Every thread begins its own stream."""

    def sample(self, out, *rest, seed, offset, threads):
        super().sample(out, *rest, seed=seed, offset=offset, threads=1)
        if threads > 1:
            out[out.size // threads] *= 0.5


class ChannelsMixedUp(ExampleBackend):
    """A parameter per channel is read in the order of the samples."""

    def per_element(self, layout, working, *parameters):
        samples = np.arange(layout.n0)[:, None] % layout.n1
        parameters = [p[0][samples] if p.shape[0] == 1 < p.shape[1] else p for p in parameters]
        return super().per_element(layout, working, *parameters)


class StorageTruncates(ExampleBackend):
    """bfloat16 by cutting bits off."""

    def store(self, values, out):
        if out.dtype.itemsize > 2 or out.dtype == np.float16:
            return super().store(values, out)
        with np.errstate(all="ignore"):
            out.view(np.uint16)[...] = values.astype(np.float32).view(np.uint32) >> 16


class OffsetRoundedDown(ExampleBackend):
    """The noise begins at the start of a block of eight elements."""

    def noise(self, seed, offset, working, a, t, stream=0):
        return super().noise(seed, offset // 8 * 8, working, a, t, stream)


class RestInFloat32(ExampleBackend):
    """The last elements, fewer than eight, go through another, less accurate loop."""

    def store(self, values, out):
        whole = out.size // 8 * 8
        values[whole:] = values[whole:].astype(np.float32) * np.float32(1 + 2**-20)
        super().store(values, out)


class PairHasItsOwnStream(ExampleBackend):
    def sample_pair(self, *arrays, seed, **rest):
        super().sample_pair(*arrays, seed=seed ^ 1, **rest)


class SchedulesMixedUp(ExampleBackend):
    """f and f' exchanged."""

    def sample_pair(self, x_0, x_t, dx_t, layout, a, c, signal, dsignal, *rest, **noise):
        super().sample_pair(x_0, x_t, dx_t, layout, a, c, dsignal, signal, *rest, **noise)


class DensityOff(ExampleBackend):
    """1e-6 too large."""

    def integrals(self, tau, xi, zeta):
        density, tail = super().integrals(tau, xi, zeta)
        return density * (1 + 1e-6), tail


class LogOfDensity(ExampleBackend):
    """The logarithm of the density that underflows."""

    def logpdf(self, x, edge, t, a, c):
        return np.log(self.pdf(x, edge, t, a, c))


class DistributionOff(ExampleBackend):
    """1e-12 too much of the lower tail."""

    def integrals(self, tau, xi, zeta):
        density, tail = super().integrals(tau, xi, zeta)
        return density, tail * (1 + 1e-12 * xi)


class NoAtoms(ExampleBackend):
    """The distribution function of the density alone."""

    def atom(self, t, a):
        return np.zeros_like(t)


class LeftContinuous(ExampleBackend):
    """P(K(t) < x)."""

    def cdf(self, x, edge, t, a, c):
        return super().cdf(np.nextafter(x, -np.inf), edge, t, a, c)


class NotClamped(ExampleBackend):
    """Quantiles of the atoms a little inside the cone."""

    def clamped(self, low, atom, edge, xi):
        return edge * np.minimum(xi, 1 - 1e-6)


class QuantileOff(ExampleBackend):
    def clamped(self, low, atom, edge, xi):
        return super().clamped(low, atom, edge, xi * (1 - 1e-6))


class RestOfTheLaw(ExampleBackend):
    """The last elements, fewer than eight, of the law are not quite those of whole blocks."""

    def distribution(self, kind, x, out, *rest, **threads):
        super().distribution(kind, x, out, *rest, **threads)
        whole = out.size // 8 * 8
        out[whole:] *= 1 + 4 * np.finfo(out.dtype).eps


class NanLeaksInTheLaw(ExampleBackend):
    """One NaN makes its block of eight elements NaN."""

    def distribution(self, kind, x, out, *rest, **threads):
        bad = np.add.reduceat(np.isnan(x), np.arange(0, x.size, 8)) > 0
        super().distribution(kind, x, out, *rest, **threads)
        out[np.repeat(bad, 8)[: out.size]] = np.nan


class NeverReversed(ExampleBackend):
    """An odd number of turns keeps the direction."""

    def step(self, seed, offset, working, a, length, j, direction):
        xi, after = super().step(seed, offset, working, a, length, j, direction)
        return xi, direction if j else after


class EvenSignIgnored(ExampleBackend):
    """An even number of turns always leads forward."""

    def against(self, noise, u3):
        return np.zeros(u3.shape, bool)


class EvenSignFair(ExampleBackend):
    """... or forward and back with the same probability."""

    def against(self, noise, u3):
        return ~noise.atom & (u3 < 0.5)


class FirstIntervalOfItsOwn(ExampleBackend):
    """Paths do not begin with the draw of ``sample``."""

    def step(self, seed, offset, working, a, length, j, direction):
        return super().step(seed, offset, working, a, length, j + 1, direction)


class NotLimited(ExampleBackend):
    """Positions rounded to nearest, an ulp outside the cone at times."""

    def limited(self, start, target, cone):
        return target


class LimitedAsComputed(ExampleBackend):
    """Within c times the interval as computed, not in exact arithmetic."""

    def limited(self, start, target, cone):
        step = np.clip(target - start, -cone, cone)
        end = start + step
        return np.where(np.abs(end - start) > cone, np.nextafter(end, start), end)


class TransportByProbability(ExampleBackend):
    """With F rounded to float32 between the two times."""

    def moved(self, x, edge, end, t, s, a, c):
        q = self.cdf(x, edge, t, a, c).astype(np.float32).astype(float)
        return self.ppf(q, end, s, a, c)


class AtomsComeLoose(ExampleBackend):
    """Atoms at one unit inside of the edge."""

    def moved(self, x, edge, end, *rest):
        found = super().moved(x, edge, end, *rest)
        inside = np.nextafter(end.astype(np.float32), np.float32(0)).astype(float)
        return np.where(np.abs(x) >= edge, np.sign(x) * inside, found)


class GridOfTheFirst(ExampleBackend):
    """One time grid for all paths."""

    def per_path(self, layout, times):
        return super().per_path(layout, times[:1, :1])


class LastPositionNotWritten(ExampleBackend):
    def sample_path(self, positions, *rest, **noise):
        before = positions[-1:].copy()
        super().sample_path(positions, *rest, **noise)
        positions[-1:] = before


class EventsIgnoreOffset(ExampleBackend):
    def simulate_events(self, *arguments, offset, **rest):
        return super().simulate_events(*arguments, offset=0, **rest)


class EventsOffByOne(EventsIgnoreOffset):
    """The offset is a whole number of blocks of eight paths."""

    def simulate_events(self, *arguments, offset, **rest):
        return ExampleBackend.simulate_events(self, *arguments, offset=offset // 8 * 8, **rest)


class OneEventTooMany(ExampleBackend):
    """The turn that is the first after t_max."""

    def until(self, times, t_max):
        before = np.concatenate([np.zeros((t_max.size, 1)), times[:, :-1]], axis=1)
        return before <= t_max[:, None]


class WaitsOff(ExampleBackend):
    def waits(self, seed, offset, n, width):
        return super().waits(seed, offset, n, width) * (1 + 1e-12)


class NoPair(ExampleBackend):
    @property
    def sample_pair(self):
        raise AttributeError("the example has no sample_pair")


#: For each defect the check that is meant for it, and words of its message.
DEFECTS = [
    (WrongConstant, "philox_vectors", "philox(seed, counter, block, stream)"),
    (WrongConstantUnseen, "philox_vectors", "not those of the known words"),
    (OffsetIgnored, "counter_wraps", "offset"),
    (OffsetOf32Bits, "counter_wraps", "high word of the counter is ignored"),
    (NoWrap, "counter_wraps", "from offset 2^64 - 40"),
    (BlocksExchanged, "float64_refines_float32", "float32 against float64"),
    (OnePercentFewerAtoms, "case_probabilities", "have the wrong case"),
    (TenPercentFewerAtoms, "case_probabilities", "have not turned, expected"),
    (ThresholdInFloat32, "case_probabilities", "steps from the boundary"),
    (OnlyAtomsBeyond1e31, "sample_error", "float64 draws at a t from 9.99e+06"),
    (AtomsFromRoundedX, "pair_knows_its_atoms", "guessed from a rounded x_t"),
    (AtomsInside, "atoms", "atoms"),
    (NoTurningBack, "sample_error", "draws at a t"),
    (BrokenBackend, "atoms", "outside the light cone"),
    (VelocityOff, "velocity_error", "numbers are off"),
    (VelocityNotBounded, "velocity_is_bounded", "above c"),
    (VelocityEdgeCancels, "velocity_error", "velocity"),
    (VelocityBesideTheEdge, "velocity_error", "numbers are off"),
    (GradientSign, "velocity_grad_error", "dv/dt"),
    (TailNotWritten, "stays_in_bounds", "1 of 1 elements unwritten"),
    (WritesPastTheEnd, "stays_in_bounds", "past the end"),
    (WritesIntoItsInput, "stays_in_bounds", "changed its input"),
    (NanLeaks, "nan_stays_in_its_element", "beside an element nan"),
    (RestInFloat32, "awkward_sizes", "of 1 elements"),
    (OffsetRoundedDown, "counter_wraps", "shifted"),
    (PairHasItsOwnStream, "pair_draws_the_noise_of_sample", "x_t against sample"),
    (ThreadsDiffer, "threads_change_nothing", "with 2 threads"),
    (ChannelsMixedUp, "row_parameters", "for data of shape"),
    (StorageTruncates, "sixteen_bit_storage", "bfloat16"),
    (RestInFloat32, "splits_change_nothing", "and"),
    (SchedulesMixedUp, "pair_error", "x_t: "),
    (DensityOff, "pdf_error", "numbers are off"),
    (LogOfDensity, "logpdf_error", "is -inf, expected"),
    (DistributionOff, "cdf_error", "cdf"),
    (NoAtoms, "cdf_is_a_distribution_function", "expected e^(-a t)/2"),
    (LeftContinuous, "cdf_is_a_distribution_function", "F from c t on"),
    (NotClamped, "ppf_inverts_cdf", "<= e^(-a t)/2"),
    (QuantileOff, "ppf_inverts_cdf", "F(ppf(q))"),
    (TransportByProbability, "transport_error", "float32 transport"),
    (AtomsComeLoose, "transport_error", "transport of an atom"),
    (RestOfTheLaw, "law_of_any_array", "of 1 elements"),
    (TailNotWritten, "law_of_any_array", "distribution left 4 of 500 elements unwritten"),
    (WritesPastTheEnd, "law_of_any_array", "past the end"),
    (NanLeaksInTheLaw, "law_of_nan", "beside an element nan"),
    (NeverReversed, "path_error", "directions"),
    (EvenSignIgnored, "path_error", "at 1 times"),
    (EvenSignFair, "path_error", "at 1 times"),
    (FirstIntervalOfItsOwn, "path_begins_with_sample", "first positions against sample"),
    (NotLimited, "path_keeps_the_light_cone", "is longer than c times its interval"),
    (LimitedAsComputed, "path_keeps_the_light_cone", "leaves the light cone in interval"),
    (GridOfTheFirst, "path_of_any_array", "of sample 1 by itself"),
    (OffsetRoundedDown, "path_of_any_array", "from offset 2^64 - 100"),
    (LastPositionNotWritten, "path_of_any_array", "sample_path left 1 of "),
    (EventsIgnoreOffset, "event_times", "first directions"),
    (EventsOffByOne, "events_of_any_array", "from offset 2^64 - 100"),
    (OneEventTooMany, "event_times", "lie outside (0, t_max]"),
    (WaitsOff, "event_times", "turning times"),
    *SPLINE_DEFECTS,
]
