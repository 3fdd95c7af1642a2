"""The GPU kernels' per-thread functions over a simulated grid, with the jobs and plans of a GPU.

What needs no GPU to be proved: index arithmetic, launch geometry, alignment, tails, tables of rows,
the packing of jobs, and what the approximate operations of csrc/kac/near.h do to the results.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from simulated_gpu import SimulatedDriver, compile_grid

import kacflow_core
from kacflow_core import _run
from kacflow_core._arrays import HOST, NUMPY
from kacflow_core._dispatch import POINT_FUNCTIONS, get_backend, register_backend
from kacflow_core._layout import Layout
from kacflow_core.backends import _jobs
from kacflow_core.backends._device import DeviceBackend
from kacflow_core.testing._compare import plain
from kacflow_core.testing.oracles import endpoint, philox
from kacflow_core.testing.strategies import stored

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")

FLAGS = {"exact": [], "near": ["-DKAC_SIMULATE_NEAR"]}
#: Largest |xi - exact|/min(1, tau^-1/2) in float32 where every approximate operation errs by as
#: much as it may: 1.3e-6 was measured over 20000 points.
NEAR_ERROR = 1.6e-6


@pytest.fixture(scope="module", params=["exact", "near"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def driver(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDriver]:
    library = compile_grid(tmp_path_factory.mktemp(kind), *FLAGS[kind])
    aligned, shifted = SimulatedDriver(library), SimulatedDriver(library, misaligned=True)
    register_backend("simulated", lambda: DeviceBackend(aligned))
    register_backend("misaligned", lambda: DeviceBackend(shifted))
    yield aligned
    register_backend("simulated", None)
    register_backend("misaligned", None)


def test_conformance(driver: SimulatedDriver):
    pytest.importorskip("hypothesis")
    from kacflow_core.testing import check_backend

    assert check_backend("simulated").ok


def test_table_entries_have_the_size_that_is_planned(driver: SimulatedDriver):
    tried = 0
    for operation in _jobs.OPERATIONS:
        for storage in _jobs.STORAGES:
            size = driver.library.kacflow_entry_bytes(operation.encode(), storage.encode())
            if size:
                assert size == _jobs.entry_bytes(operation, storage), (operation, storage)
                tried += 1
    assert tried == 2 + 4 + 4 + 4 + 2 + 5 * 2 + 3 * 2 + 2


def pair(x: np.ndarray, shape: tuple[int, ...], backend: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(shape))
    t = rng.uniform(0.0, 2.0, shape)
    return kacflow_core.sample_pair(
        x, a=rng.uniform(0.5, 30.0, shape), c=2.0, signal=1 - t, dsignal=-1.0, clock=t, dclock=1.0,
        seed=11, offset=2**32 - 77, backend=backend,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(
    ("shape", "lead"),
    [
        ((1,), (1,)),
        ((1029,), (1029,)),
        ((2, 4096), (2,)),
        ((700, 3), (700,)),
        ((5, 3, 151), (5, 3)),
        ((3, 3, 28, 28), (3,)),
        ((4, 1, 5, 129), (4, 1, 5)),
        ((9, 1023), (9,)),
        ((3, 40000), ()),
    ],
)
def test_any_shape_and_alignment(driver: SimulatedDriver, kind: str, dtype, shape, lead):
    """As the compiled CPU kernels, to rounding; a misaligned array changes no bit."""
    x = np.random.default_rng(1).normal(size=shape).astype(dtype)
    got = pair(x, lead, "simulated")
    assert driver.launches[-1].operation == "sample_pair"
    for value, twin in zip(got, pair(x, lead, "misaligned"), strict=True):
        np.testing.assert_array_equal(value, twin)
    tolerance = {"float32": 4e-5, "float64": 1e-10, "float16": 4e-3}[dtype]
    for value, want in zip(got, pair(x, lead, "reference"), strict=True):
        np.testing.assert_allclose(value, want, rtol=tolerance, atol=tolerance)


def test_error_of_the_approximate_operations(driver: SimulatedDriver, kind: str):
    seed, n = 20250620, 4000
    taus = np.exp(np.random.default_rng(seed).uniform(np.log(1e-9), np.log(1e7), n))
    taus = taus.astype(np.float32)
    got = kacflow_core.sample(1.0, n, a=taus, c=1.0, seed=seed, backend="simulated")
    exact = endpoint.endpoints(philox.many_uniforms(seed, 0, n, "float32"), map(float, taus))
    worst = max(
        abs(float(value) - float(truth.xi)) / min(1.0, float(tau) ** -0.5)
        for value, truth, tau in zip(got, exact, taus, strict=True)
    )
    assert 1e-8 < worst < (NEAR_ERROR if kind == "near" else 5.5e-7)


@pytest.mark.parametrize("storage", list(_jobs.STORAGES))
@pytest.mark.parametrize("operation", ["sample", "sample_pair", "velocity", "pdf"])
def test_plans(operation: str, storage: str):
    """Every plan covers all elements, fills its table only, and divides right."""
    vector = 16 // _jobs.STORAGES[storage][1]
    for inner in (1, 2, 3, 4, 7, 8, 31, 100, 784, 1023, 1024, 1025, 3072, 12288, 10**7):
        for rows in (1, 2, 513, 100_000, 2**33):
            if rows * inner > 2**40:
                continue
            p = _jobs.plan(operation, storage, rows, inner)
            tile = p.threads * p.groups * vector
            assert (p.blocks - 1) * tile < rows * inner <= p.blocks * tile
            assert p.threads % 32 == 0 and 32 <= p.threads <= 256 and p.groups in (1, 2, 4)
            assert p.shared == 16 + p.rows * _jobs.entry_bytes(operation, storage) <= 48 * 1024
            firsts = np.unique(np.linspace(0, p.blocks - 1, 50).astype(np.int64)) * tile
            lasts = np.minimum(firsts + tile, rows * inner) - 1
            assert (lasts // inner - firsts // inner + 1).max() <= p.rows
            assert p.whole == (inner % vector == 0)
            beyond = np.arange(tile, dtype=np.uint64)
            quotients = (beyond * np.uint64(p.magic)) >> np.uint64(31)
            if inner < tile:
                assert p.magic < 2**32
                np.testing.assert_array_equal(quotients, beyond // np.uint64(inner))
            else:
                assert not quotients.any()


def test_large_jobs_are_spread_over_many_blocks():
    p = _jobs.plan("sample_pair", "float32", 512, 3 * 64 * 64)
    assert p.whole and p.groups == 4 and p.blocks >= 1024
    assert _jobs.plan("sample_pair", "float32", 256, 2).blocks == 1


def test_too_many_elements_are_refused():
    with pytest.raises(ValueError, match="one launch"):
        _jobs.plan("sample", "float64", 2**50, 2**5)


@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_path_plans(storage: str):
    for inner in (1, 2, 3, 31, 128, 1000, 10**6):
        for rows in (1, 5, 4096):
            p = _jobs.path_plan(storage, rows, inner)
            assert (p.blocks - 1) * p.threads < rows * inner <= p.blocks * p.threads
            assert p.shared <= 48 * 1024 and p.groups in (2, 4, 8, 16)
            firsts = np.arange(p.blocks) * p.threads
            lasts = np.minimum(firsts + p.threads, rows * inner) - 1
            assert (lasts // inner - firsts // inner + 1).max() <= p.rows


def test_large_indices(driver: SimulatedDriver):
    """Blocks beyond 2^32 elements of a layout compute what a short array with an offset does."""
    plan = _jobs.plan("sample", "float32", 2**23, 1024)
    tile = plan.threads * plan.groups * 4
    block = 2**31 // tile * 3 + 1
    first = block * tile
    assert first > 2**32
    out = np.zeros(tile, np.float32)
    t, a, c = (_jobs.Parameter(value=v) for v in (1.0, 3.0, 2.0))
    layout = Layout(2**23, 1, 1024)
    pointer = out.ctypes.data - 4 * first  # where element 0 would be
    launch = _jobs.sample("float32", layout, pointer % 2**64, t, a, c, _jobs.Noise(5, 0))
    assert driver.run_block(launch, block) == 0
    want = kacflow_core.sample(1.0, tile, a=3.0, c=2.0, seed=5, offset=first, backend="simulated")
    np.testing.assert_array_equal(out, want)


def test_a_seed_in_memory_is_read_by_the_kernel(driver: SimulatedDriver):
    seed, out = np.array(2**62 + 3, np.int64), np.zeros(100, np.float32)
    t, a, c = (_jobs.Parameter(value=v) for v in (1.0, 3.0, 2.0))
    noise = _jobs.Noise(0, 7, seed.ctypes.data)
    launch = _jobs.sample("float32", Layout(1, 1, 100), out.ctypes.data, t, a, c, noise)
    for _ in range(2):  # as a captured graph does, with another number in the same place
        driver.launch(launch, 0, 0)
        want = kacflow_core.sample(
            1.0, 100, a=3.0, c=2.0, seed=int(seed), offset=7, backend="simulated"
        )
        np.testing.assert_array_equal(out, want)
        seed[...] = 12


# --- rows that nobody checks --------------------------------------------------------------------

NO_PROCESS = [
    *((t, 9.0, 3.0) for t in (-0.5, -1e-30, -np.inf, np.inf, np.nan)),
    *((0.5, a, 3.0) for a in (-9.0, -1e-30, 0.0, 1e-310, np.inf, np.nan)),
    *((0.5, 9.0, c) for c in (-3.0, -1e-30, 0.0, 1e-310, np.inf, np.nan)),
    (-0.5, -9.0, 3.0),
    (-0.5, 9.0, -3.0),
    (0.5, -9.0, -3.0),
    (0.0, 0.0, 0.0),
]
INNER = 5


def rows_of(column: int) -> np.ndarray:
    """A parameter of rows without a process, each followed by one with it."""
    return np.array([v for row in NO_PROCESS for v in (row[column], (0.5, 9.0, 3.0)[column])])[
        :, None
    ]


def check_rows(result: np.ndarray) -> None:
    """NaN throughout the rows without a process, and nowhere else."""
    rows = plain(result).reshape(2 * len(NO_PROCESS), -1).astype(np.float64)
    missed = [row for row, values in zip(NO_PROCESS, rows[::2], strict=True)
              if not np.isnan(values).all()]  # fmt: skip
    assert not missed, f"a number for (t, a, c) in {missed}"
    assert not np.isnan(rows[1::2]).any()


LAYOUT = Layout(2 * len(NO_PROCESS), 1, INNER)


def empty(dtype: str) -> np.ndarray:
    return stored(np.zeros(LAYOUT.size, np.float32), dtype)


@pytest.fixture(params=["simulated", "native", "numba"])
def unchecked(request: pytest.FixtureRequest, driver: SimulatedDriver) -> _run.Target:
    """Where a call computes whose arguments nobody has checked."""
    if request.param not in ("simulated", *kacflow_core.available_backends()):
        pytest.skip(f"no {request.param} backend here")
    return _run.Target(get_backend(request.param), NUMPY, HOST)


PARAMETERS = {name: rows_of(column) for column, name in enumerate("tac")}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_without_a_process_are_nan(unchecked: _run.Target, dtype: str):
    noise, shape = _jobs.Noise(1, 0), (LAYOUT.n0, INNER)
    check_rows(_run.sample(unchecked, shape, dtype, PARAMETERS, noise))
    t, *process = PARAMETERS.values()
    grids = np.concatenate([0.5 * t, t], axis=1).astype(dtype)
    for result in _run.path(unchecked, grids, shape, dtype, dict(zip("ac", process, strict=True)),
                            noise):  # fmt: skip
        check_rows(result)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_pairs_without_a_process_are_nan(unchecked: _run.Target, dtype: str):
    t, a, c = PARAMETERS.values()
    x = empty(dtype).reshape(LAYOUT.n0, INNER)
    given = {"a": a, "c": c, "clock": t, "signal": 1.0, "dsignal": 1.0, "dclock": 1.0}
    for result in _run.pair(unchecked, x, given, _jobs.Noise(1, 0)):
        check_rows(result)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name, function in POINT_FUNCTIONS.items()
        for dtype in _jobs.STORAGES
        if function.sixteen_bit or dtype in ("float32", "float64")
    ],
)
def test_functions_of_the_position_without_a_process_are_nan(
    unchecked: _run.Target, name: str, dtype: str
):
    function = POINT_FUNCTIONS[name]
    given = [PARAMETERS]
    if "s" in function.parameters:  # either time may be the wrong one
        given = [{**PARAMETERS, "s": 0.3}, {**PARAMETERS, "t": 0.3, "s": PARAMETERS["t"]}]
    chances, places = (0.0, 0.3, 0.5, 1.0), (0.0, -0.0, 0.3, -1.5, 7.0, -np.inf)
    for place in chances if name == "ppf" else places:
        x = stored(np.full((LAYOUT.n0, INNER), place, np.float32), dtype)
        for parameters in given:
            results = _run.points(unchecked, name, "x", x, parameters, len(function.results))
            for result in results:
                check_rows(result)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_path_is_nan_from_where_time_runs_back(unchecked: _run.Target, dtype: str):
    times = np.array([0.5, 1.0, 0.75, 1.5, 2.0], dtype)
    process = {"a": 9.0, "c": 3.0}
    for result in _run.path(unchecked, times, (100,), dtype, process, _jobs.Noise(2, 0)):
        assert not np.isnan(result[:, :2]).any() and np.isnan(result[:, 2:]).all()
