"""The conformance suite: backends pass it, and each defect is found by the check meant for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from broken_backend import BrokenBackend
from cores import child_environment, core_names
from example_backend import ExampleBackend

import kacflow_core
from kacflow_core.testing import (
    ConformanceError,
    check_backend,
    check_names,
    register_backend,
)

HERE = Path(__file__).parent


def test_every_backend_passes(backend: str):
    report = check_backend(backend)
    assert report.ok and not report.failed
    assert [result.name for result in report.results] == check_names()
    assert str(report).count("\nok ") == len(check_names())


def test_the_example_backend_passes():
    assert check_backend("example").ok
    got = kacflow_core.sample(1.0, 50, a=9.0, c=3.0, seed=0, backend="example")
    want = kacflow_core.sample(1.0, 50, a=9.0, c=3.0, seed=0)
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert "example" not in kacflow_core.available_backends()


# --- defects -------------------------------------------------------------------------------------


class WrongConstant(ExampleBackend):
    """The two multipliers of Philox exchanged."""

    multipliers = ExampleBackend.multipliers[::-1]


class WrongConstantUnseen(WrongConstant):
    """... and its words not shown."""

    philox = None


class OffsetIgnored(ExampleBackend):
    def noise(self, seed, offset, working, a, t):
        return super().noise(seed, 0, working, a, t)


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

    def noise(self, seed, offset, working, a, t):
        self.exchanged = working == np.float64
        return super().noise(seed, offset, working, a, t)

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


class AtomsFromRoundedX(ExampleBackend):
    """The pair takes every draw that rounds to the edge for an atom."""

    def noise_velocity(self, noise, tau):
        atom = np.abs(noise.xi.astype(np.float32)) == 1
        return super().noise_velocity(noise._replace(atom=atom), tau)


class AtomsInside(ExampleBackend):
    """Atoms an ulp inside the edge."""

    def noise(self, seed, offset, working, a, t):
        noise = super().noise(seed, offset, working, a, t)
        inside = noise.xi * (1 - np.finfo(working).eps)
        return noise._replace(xi=np.where(noise.atom, inside, noise.xi))


class NoTurningBack(ExampleBackend):
    """Even numbers of turns sampled as odd ones."""

    def cases(self, word, bits, tau):
        atom, w = super().cases(word, bits, tau)
        return atom, np.ones_like(w)


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

    def noise(self, seed, offset, working, a, t):
        return super().noise(seed, offset // 8 * 8, working, a, t)


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
    (AtomsFromRoundedX, "pair_knows_its_atoms", "guessed from a rounded x_t"),
    (AtomsInside, "atoms", "atoms"),
    (NoTurningBack, "sample_error", "draws at a t"),
    (BrokenBackend, "atoms", "outside the light cone"),
    (VelocityOff, "velocity_error", "numbers are off"),
    (VelocityNotBounded, "velocity_is_bounded", "above c"),
    (VelocityEdgeCancels, "velocity_error", "velocity"),
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
    (NoPair, "pair_error", "the example has no sample_pair"),
]


def failure(broken: type, **options) -> ConformanceError:
    """What the suite says of a backend."""
    register_backend("broken", broken)
    try:
        with pytest.raises(ConformanceError) as caught:
            check_backend("broken", **options)
    finally:
        register_backend("broken", None)
    return caught.value


@pytest.mark.parametrize(
    ("broken", "check", "words"), DEFECTS, ids=[f"{b.__name__}-{c}" for b, c, _ in DEFECTS]
)
def test_a_defect_is_named_by_its_check(broken: type, check: str, words: str):
    error = failure(broken, only=[check])
    [failed] = error.report.failed
    assert failed.name == check
    assert words in failed.message
    assert f"{check}: " in str(error) and failed.message in str(error)


def test_every_check_has_its_defect():
    assert {check for _, check, _ in DEFECTS} == set(check_names())


def test_the_message_lists_every_failure_with_its_smallest_example():
    error = failure(BrokenBackend)
    assert isinstance(error, AssertionError)
    failed = {result.name: result for result in error.report.failed}
    assert set(failed) == {
        "philox_vectors",
        "sample_error",
        "atoms",
        "case_probabilities",
        "pair_draws_the_noise_of_sample",
    }
    text = str(error)
    assert text.startswith("backend 'broken' fails 5 of ")
    for result in failed.values():
        assert f"{result.name}: {result.promise}\n    {result.message}" in text
    smallest = "dtype='float32', tau=1.0, t=1.0, c=1.0, seed=0, offset=0"
    assert failed["atoms"].example == smallest
    assert f"smallest failing example: {smallest}" in text
    assert error.__cause__ is error.report.failed[0].error
    table = str(error.report).splitlines()
    assert len(table) == 1 + len(check_names())
    assert [line.split()[0] for line in table[1:]].count("FAILED") == 5


def test_errors_inside_a_backend_are_failures():
    """Not crashes of the suite: the message has their type, the cause their traceback."""

    class Raises(ExampleBackend):
        def velocity(self, *arguments, **keywords):
            raise ZeroDivisionError("in the kernel")

    error = failure(Raises, only=["velocity_error", "atoms"])
    [failed] = error.report.failed
    assert failed.message == "ZeroDivisionError: in the kernel"
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="backend: got 'none such'"):
        check_backend("none such")
    with pytest.raises(ValueError, match="only: got 'none such'; allowed: philox_vectors"):
        check_backend("reference", only=["none such"])
    with pytest.raises(ValueError, match="'native' is a built-in backend"):
        register_backend("native", ExampleBackend)

    def absent():
        raise ImportError("no such hardware")

    register_backend("absent", absent)
    try:
        with pytest.raises(RuntimeError, match="no such hardware"):
            check_backend("absent")
    finally:
        register_backend("absent", None)


def test_nothing_stays_registered():
    check_backend("reference", only=["atoms"])
    with pytest.raises(ValueError) as caught:
        kacflow_core.sample(1.0, 1, a=1.0, c=1.0, seed=0, backend="none such")
    assert "fenced" not in str(caught.value)


# --- the command line ----------------------------------------------------------------------------


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = child_environment(**variables)
    environment["PYTHONPATH"] += os.pathsep + str(HERE)
    return subprocess.run(
        [sys.executable, "-m", "kacflow_core.testing", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_command_line_of_a_good_backend():
    done = command("--import", "example_backend", "--backend", "example", "--only", "atoms")
    assert done.returncode == 0, done.stderr
    head, line = done.stdout.strip().splitlines()
    assert head == "backend 'example': 1 of 1 checks passed"
    assert line.split()[:2] == ["ok", "atoms"]


def test_command_line_of_a_broken_backend():
    done = command("--import", "broken_backend", "--backend", "broken", "--only", "atoms")
    assert done.returncode == 1, done.stderr
    _, line, example = done.stdout.strip().splitlines()
    assert line.split()[:2] == ["FAILED", "atoms"]
    assert "outside the light cone" in line
    assert example.startswith("atoms: smallest failing example: dtype=")


@pytest.mark.parametrize("name", [n for n in core_names() if n.startswith("native-")])
def test_every_simd_level_passes(name: str):
    done = command("--backend", "native", KACFLOW_SIMD=name.removeprefix("native-"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") == len(check_names())


def test_command_line_of_an_unknown_backend():
    done = command("--backend", "none such")
    assert done.returncode == 1
    assert "backend: got 'none such'" in done.stderr
    assert f"usable here: {', '.join(kacflow_core.available_backends())}" in done.stderr


def test_without_hypothesis_the_error_says_what_to_install():
    program = "import sys; sys.modules['hypothesis'] = None; import kacflow_core.testing"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: kacflow_core.testing needs Hypothesis: pip install 'kacflow[test]'"
    )
