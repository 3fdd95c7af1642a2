"""The conformance suite: backends pass it, and each defect is found by the check meant for it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from broken_backend import BrokenBackend
from cores import child_environment, core_names
from defects import DEFECTS, NoPair
from example_backend import ExampleBackend
from partial_backend import PartialBackend

import kacflow_core
from kacflow_core import available_backends
from kacflow_core._dispatch import get_backend
from kacflow_core._layout import BFLOAT16
from kacflow_core.testing import (
    ConformanceError,
    check_backend,
    check_names,
    register_backend,
)
from kacflow_core.testing._subject import Fence

HERE = Path(__file__).parent


def test_every_backend_passes(backend: str):
    report = check_backend(backend)
    assert report.ok and not report.failed and not report.missing
    assert [result.name for result in report.results] == check_names()
    assert str(report).count("\nok ") == len(check_names())


def test_the_example_backend_passes():
    assert check_backend("example").ok
    got = kacflow_core.sample(1.0, 50, a=9.0, c=3.0, seed=0, backend="example")
    want = kacflow_core.sample(1.0, 50, a=9.0, c=3.0, seed=0)
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert "example" not in kacflow_core.available_backends()


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BFLOAT16], ids=str)
def test_a_nan_is_not_taken_for_an_unwritten_element(dtype, bits: int):
    """Not those of the processors of today, negated or rounded either."""
    fence = Fence(np.zeros(3, dtype))
    with pytest.raises(AssertionError, match="3 of 3 elements unwritten"):
        fence.check("kernel")
    words = fence.array.view(f"u{fence.array.itemsize}")
    width = 8 * fence.array.itemsize
    shifted = {16: bits >> 16, 32: bits, 64: bits << 32 | (bits & 1) * 0xFFFFFFFF}[width]
    words[:] = shifted | 0x7E00 if dtype == np.float16 else shifted
    fence.check("kernel")


# --- defects -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("broken", [NoPair, PartialBackend])
def test_a_method_that_is_missing_is_named(broken: type):
    error = failure(broken, only=["pair_error", "atoms"])
    assert not error.report.failed and not error.report.ok
    [missing] = error.report.missing
    assert missing.message == "backend 'example' has no method sample_pair"
    assert not missing.example
    assert f"pair_error: {missing.promise}\n    {missing.message}" in str(error)
    assert str(error.report).splitlines()[2].split()[:2] == ["missing", "pair_error"]


def test_a_backend_may_have_a_part_of_the_methods():
    register_backend("part", PartialBackend)
    try:
        report = check_backend("part", partial=True)
    finally:
        register_backend("part", None)
    assert not report.ok and not report.failed
    passed = [result.name for result in report.results if result.ok]
    assert passed == [
        "philox_vectors",
        "sample_error",
        "atoms",
        "case_probabilities",
        "float64_refines_float32",
        "counter_wraps",
    ]
    asked = [result.name for result in report.results]
    assert asked == [name for name in check_names() if not name.startswith("spline")]
    assert len(report.missing) == len(asked) - len(passed)
    assert str(report).startswith(f"backend 'part': 6 of {len(asked)} checks passed")


def test_partial_does_not_accept_a_defect():
    class Part(PartialBackend, BrokenBackend):
        pass

    error = failure(Part, partial=True)
    assert {result.name for result in error.report.failed} >= {"sample_error", "atoms"}
    assert "has no method" not in str(error)


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
        "path_begins_with_sample",
    }
    text = str(error)
    assert text.startswith("backend 'broken' fails 6 of ")
    for result in failed.values():
        assert f"{result.name}: {result.promise}\n    {result.message}" in text
    smallest = "dtype='float32', tau=1.0, t=1.0, c=1.0, seed=0, offset=0"
    assert failed["atoms"].example == smallest
    assert f"smallest failing example: {smallest}" in text
    assert error.__cause__ is error.report.failed[0].error
    table = str(error.report).splitlines()
    assert len(table) == 1 + len(error.report.results)
    assert [line.split()[0] for line in table[1:]].count("FAILED") == 6


class Astray:
    """The native kernels; after a velocity a byte is written where it does no good."""

    name, host = "astray", True

    def __init__(self, place: str):
        self._native, self._place = get_backend("native"), place
        self.driver = self

    def launch(self, launch, device, stream):
        x, out, _ = np.frombuffer(launch.job, np.int64)[-3:]
        if self._place != "nowhere" or launch.operation != "velocity":
            self._native.driver.launch(launch, device, stream)
        if launch.operation == "velocity" and self._place != "nowhere":
            byte = ctypes.c_ubyte.from_address(int({"before": out - 1, "input": x}[self._place]))
            byte.value ^= 0xFF


@pytest.mark.skipif("native" not in available_backends(), reason="needs the native backend")
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("before", "velocity wrote 1 bytes before the start of its output of"),
        ("input", "velocity changed an array of its inputs"),
        ("nowhere", "elements unwritten, the first of them 0"),
    ],
)
def test_kernels_that_take_addresses_are_fenced_too(place: str, words: str):
    error = failure(lambda: Astray(place), only=["velocity_is_bounded"])
    [failed] = error.report.failed
    assert words in failed.message


@pytest.mark.skipif("native" not in available_backends(), reason="needs the native backend")
def test_the_suite_takes_the_way_of_ordinary_calls(monkeypatch):
    """By address where the backend computes in place: each output it fences was made for one."""
    made = []
    monkeypatch.setattr(Fence, "check", lambda self, method: made.append(method))
    assert check_backend("native", only=["velocity_is_bounded", "atoms", "pair_error"]).ok
    assert {"velocity", "sample", "sample_pair"} <= set(made)


class WithoutTransport(ExampleBackend):
    transport = None


def test_what_is_optional_may_be_missing():
    """The rest of the law is checked all the same, and a call says what there is not."""
    register_backend("without", WithoutTransport)
    try:
        report = check_backend("without", only=["transport_error", "law_of_nan", "spline_error"])
        with pytest.raises(ValueError, match="backend 'example' has no method transport"):
            kacflow_core.transport(0.1, 1.0, 0.5, a=9.0, c=3.0, backend="without")
    finally:
        register_backend("without", None)
    assert [result.name for result in report.missing] == ["transport_error", "spline_error"]
    assert not report.failed and not report.ok
    assert "ok       law_of_nan" in str(report) and "missing  transport_error" in str(report)


def test_a_call_without_its_method_says_so():
    register_backend("part", PartialBackend)
    try:
        for call in (
            lambda: kacflow_core.velocity(0.1, 1.0, a=9.0, c=3.0, backend="part"),
            lambda: kacflow_core.cdf(0.1, 1.0, a=9.0, c=3.0, backend="part"),
            lambda: kacflow_core.sample_path([1.0], 3, a=9.0, c=3.0, seed=0, backend="part"),
            lambda: kacflow_core.simulate_events(1.0, 3, a=9.0, c=3.0, seed=0, backend="part"),
        ):
            with pytest.raises(ValueError, match="backend 'example' has no method "):
                call()
    finally:
        register_backend("part", None)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("nope",), "nope"), (("--only", "nope"), "--only"), (("--import", "nope"), "--import")],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], words: str):
    done = command(*arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("name", [n for n in core_names() if n.startswith("native-")])
def test_every_simd_level_passes(name: str):
    done = command("--backend", "native", KACFLOW_SIMD=name.removeprefix("native-"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nok ") == len(check_names())


def test_command_line_of_a_part():
    """Of the methods: the option accepts it."""
    program = ("--import", "partial_backend", "--backend", "partial", "--only", "atoms")
    program = (*program, "--only", "pdf_error")
    done = command(*program)
    assert done.returncode == 1 and "missing" in done.stdout, done.stderr
    done = command(*program, "--partial")
    assert done.returncode == 0, done.stderr
    _, atoms, density = done.stdout.strip().splitlines()
    assert atoms.split()[:2] == ["ok", "atoms"]
    assert density.split()[:2] == ["missing", "pdf_error"]
    assert density.endswith("backend 'example' has no method distribution")


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
