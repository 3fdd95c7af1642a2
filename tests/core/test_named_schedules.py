"""The named schedules of ``csrc/kac/schedules.h`` against 40 digits, and their twin in NumPy."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

import kacflow_core
from kacflow_core import _schedules
from kacflow_core._schedules import CLOCKS, SIGNALS

ERROR = {"lambda": 5.5e-16}  # as schedules.h says
OTHERS = 2.9e-16
TWIN_ERROR = 1e-15
HORIZONS = (1.0, 0.7, 3.0, 1e-3, 50.0, 700.0)
CSRC = Path(__file__).resolve().parents[2] / "csrc"
AVX2 = re.search("^avx2: (.*)$", (CSRC / "flags.txt").read_text(), re.M)[1].split()

HARNESS = """
#include "kac/schedules.h"
extern "C" void evaluate(int of_clock, int kind, double T, const double* t, double* value,
                         double* slope, int n) {
  for (int i = 0; i < n; ++i) {
    const kac::Jet jet =
        of_clock ? kac::clock(kind, t[i], T, 0.0) : kac::signal(kind, t[i], T, 0.0);
    value[i] = jet.value;
    slope[i] = jet.slope;
  }
}
"""

Schedule = Callable[[int, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module", params=[[], AVX2], ids=["plain", "fma"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(signal, clock) as the kernels compute them."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    if request.param and "avx2" not in (kacflow_core.build_info()["simd_usable"] or ()):
        pytest.skip("no fused multiply-add here")
    folder = tmp_path_factory.mktemp("schedules")
    (folder / "harness.cpp").write_text(HARNESS)
    subprocess.run(
        ["g++", "-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", *request.param,
         f"-I{CSRC}", folder / "harness.cpp", "-o", folder / "harness.so"],
        check=True, timeout=120,
    )  # fmt: skip
    library = ctypes.CDLL(str(folder / "harness.so"))
    pointer = np.ctypeslib.ndpointer(np.float64)
    library.evaluate.argtypes = [
        *(ctypes.c_int, ctypes.c_int, ctypes.c_double, pointer, pointer, pointer, ctypes.c_int),
    ]

    def schedule(of_clock: int) -> Schedule:
        def evaluate(kind: int, t: np.ndarray, T: float) -> tuple[np.ndarray, np.ndarray]:
            t = np.ascontiguousarray(t, np.float64)
            value, slope = np.empty_like(t), np.empty_like(t)
            library.evaluate(of_clock, kind, T, t, value, slope, t.size)
            return value, slope

        return evaluate

    return schedule(0), schedule(1)


def exact(name: str, of_clock: bool, t: float, T: float) -> tuple[mp.mpf, mp.mpf]:
    """The schedule and its derivative, from the published formulas."""
    t, T = mp.mpf(t), mp.mpf(T)
    if of_clock:
        return (t, mp.mpf(1)) if name == "linear" else (t * t / T, 2 * t / T)
    if name == "constant":
        return mp.mpf(1), mp.mpf(0)
    if name == "linear":
        return 1 - t / T, -1 / T
    if name == "exp":
        return mp.exp(-t), -mp.exp(-t)
    w = mp.pi / (2 * T)
    if name == "cosine":
        return mp.cos(w * t), -w * mp.sin(w * t)
    a, cosine, sine = mp.exp(-1), mp.cos(w * t), mp.sin(w * t)
    total = a * cosine + sine
    return a * cosine / total, -w * a / total**2


def times(T: float, n: int) -> np.ndarray:
    """Times in [0, T], with points at and beside the ends and the branch at T/2."""
    inside = np.random.default_rng(7).uniform(0.0, T, n)
    ends = [
        0.0,
        1e-300,
        0.5 * T,
        np.nextafter(0.5 * T, T),
        np.nextafter(T, 0.0),
        T,
        T * (1 + 2**-9),
    ]
    return np.concatenate([inside, T * 10.0 ** np.linspace(-18, -1, 30), ends])


def largest_error(schedule: Schedule, name: str, of_clock: bool, n: int) -> float:
    """Of values in units of 1 (a clock's: T), and of slopes in units of the steepest one."""
    kind, worst = (CLOCKS if of_clock else SIGNALS)[name], 0.0
    for T in HORIZONS:
        t = times(T, n)
        values, slopes = schedule(kind, t, T)
        with mp.workdps(40):
            truth = [exact(name, of_clock, float(v), T) for v in t]
            steepest = max(abs(slope) for _, slope in truth) or mp.mpf(1)
            for value, slope, (f, df) in zip(values, slopes, truth, strict=True):
                worst = max(
                    worst,
                    float(abs(value - f)) / (T if of_clock else 1.0),
                    float(abs(slope - df) / steepest),
                )
    return worst


EVERY = [*((name, False) for name in SIGNALS), *((name, True) for name in CLOCKS)]
IDS = [f"{'clock' if of_clock else 'signal'}-{name}" for name, of_clock in EVERY]


@pytest.mark.parametrize(("name", "of_clock"), EVERY, ids=IDS)
def test_error_of_the_kernels(compiled: tuple[Schedule, Schedule], name: str, of_clock: bool):
    assert largest_error(compiled[of_clock], name, of_clock, 500) <= ERROR.get(name, OTHERS)


@pytest.mark.parametrize(("name", "of_clock"), EVERY, ids=IDS)
def test_error_of_the_twin(name: str, of_clock: bool):
    twin = _schedules.clock if of_clock else _schedules.signal
    assert largest_error(twin, name, of_clock, 200) <= TWIN_ERROR


@pytest.mark.parametrize(("name", "of_clock"), EVERY, ids=IDS)
def test_times_elsewhere_give_nan(compiled: tuple[Schedule, Schedule], name: str, of_clock: bool):
    kind, twin = (CLOCKS if of_clock else SIGNALS)[name], (_schedules.signal, _schedules.clock)
    for schedule in (compiled[of_clock], twin[of_clock]):
        for T in HORIZONS:
            last = T * (1 + 2**-8)
            inside = np.array([0.0, -0.0, T, last])
            outside = np.array([-1e-300, -T, np.nextafter(last, np.inf), 2 * T, np.inf, np.nan])
            for result in schedule(kind, inside, T):
                assert np.isfinite(result).all()
            for result in schedule(kind, outside, T):
                assert np.isnan(result).all()


def test_signals_end_where_they_should(compiled: tuple[Schedule, Schedule]):
    for T in HORIZONS:
        ends = np.array([0.0, T])
        for name in SIGNALS:
            value, _ = compiled[0](SIGNALS[name], ends, T)
            assert value[0] == 1.0
            assert value[1] == {"constant": 1.0, "exp": pytest.approx(np.exp(-T))}.get(name, 0.0)
        for name in CLOCKS:
            np.testing.assert_array_equal(compiled[1](CLOCKS[name], ends, T)[0], ends)
