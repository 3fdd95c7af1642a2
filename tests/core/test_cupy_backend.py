"""The cupy backend without a GPU: sources through the real NVRTC, jobs on a simulated grid."""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from example_backend import ExampleBackend
from functions import KERNELS, arguments, parts
from simulated_gpu import compile_grid
from standin_arrays import Array
from standin_cupy import CompileException, Cupy

import kacflow_core
from kacflow_core import _dispatch, _gpu_arrays, _spline
from kacflow_core._dispatch import register_backend
from kacflow_core._layout import Layout
from kacflow_core.backends import _gpus, _jobs, cupy

sys.path.insert(0, str(Path(__file__).parents[1] / "build"))

from test_headers import Nvrtc, nvrtc_library

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory):
    return compile_grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture
def standin(grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cupy:
    """``cupy`` as the backend imports it, and the backend as "standin"."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_gpus, "machine", lambda: None)
    library = nvrtc_library()
    if library is None:
        pytest.skip("no libnvrtc here")
    module = Cupy(Nvrtc(library), grid)
    monkeypatch.setitem(sys.modules, "cupy", module)
    register_backend("standin", cupy.load)
    yield module
    register_backend("standin", None)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("shape", [(5, 8), (5, 7)])
def test_pair(standin: Cupy, dtype: str, shape: tuple[int, int]):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    t = np.linspace(0.1, 1.0, shape[0])
    given = {"signal": 1 - t, "dsignal": -1.0, "clock": t, "dclock": 1.0}
    keys = {"a": 9.0, "c": 3.0, "seed": 4}
    for _ in range(2):
        got = kacflow_core.sample_pair(x, **given, **keys, backend="standin")
    want = kacflow_core.sample_pair(x, **given, **keys, backend="reference")
    tolerance = {"float32": 4e-5, "float64": 1e-10, "float16": 4e-3}[dtype]
    for value, exact in zip(got, want, strict=True):
        np.testing.assert_allclose(value, exact, rtol=tolerance, atol=tolerance)
    vector = 16 // np.dtype(dtype).itemsize
    kind = "whole" if shape[1] % vector == 0 else "mixed"
    assert standin.loaded == [f"kacflow_sample_pair_{dtype}_{kind}"]  # once for both calls
    assert standin.launches == [(standin.loaded[0], 0, 0)] * 2


def test_every_operation(standin: Cupy):
    """Launched through CuPy's interface, as by name."""
    x = np.linspace(-1.0, 1.0, 33, dtype=np.float32)
    rows, line = x.reshape(11, 1, 3), np.array([[-0.5, 0.1, 0.6]], np.float32)
    knots = line, 3 * line**3, 9 * line**2
    for backend in ("standin", "reference"):
        made = [
            *_spline.spline(rows, *knots, backend=backend),
            _spline.spline_inverse(rows, *knots, backend=backend),
            *_spline.spline_grad(rows, rows, rows, *knots, backend=backend)[1],
        ]
        for name in KERNELS:
            function = getattr(kacflow_core, name)
            made += parts(function(**arguments(name, x, 0.5), backend=backend))
        if backend == "standin":
            got = made
    for value, want in zip(got, made, strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-5)
    operations = {name.removeprefix("kacflow_").rsplit("_float", 1)[0] for name in standin.loaded}
    assert operations == set(_jobs.OPERATIONS)


def test_stream_and_device_of_the_caller(standin: Cupy):
    driver = cupy.load().driver
    out = np.zeros(8, np.float32)
    one = _jobs.Parameter(value=1.0)
    launch = _jobs.sample(
        "float32", Layout(1, 1, 8), out.ctypes.data, one, one, one, _jobs.Noise(1, 0)
    )
    driver.launch(launch, 3, 77)
    assert standin.launches == [("kacflow_sample_float32_whole", 77, 3)]
    assert (standin.stream, standin.device) == (-1, -1) and out.any()
    with pytest.raises(RuntimeError, match=r"kernel sample for float32 on device 3, 1 blocks"):
        driver.launch(launch._replace(plan=launch.plan._replace(threads=4096)), 3, 0)


def draw(standin: Cupy) -> None:
    """One launch of a backend that nothing was loaded by yet."""
    out, one = np.zeros(8, np.float32), _jobs.Parameter(value=1.0)
    noise = _jobs.Noise(1, 0)
    launch = _jobs.sample("float32", Layout(1, 1, 8), out.ctypes.data, one, one, one, noise)
    cupy.load().driver.launch(launch, 0, 0)
    assert out.any()


def test_denormal_numbers_are_kept(standin: Cupy):
    """CuPy's RawModule compiles with -ftz=true; only what near.h asks for may flush."""
    draw(standin)
    flushing = set(re.findall(r"(\w+)\S*\.ftz\.f32", standin.compiled[0]))
    assert flushing == {"rcp", "sqrt", "lg2"}


def test_compiled_once_for_all_processes(standin: Cupy, tmp_path: Path):
    draw(standin)
    draw(standin)
    assert len(standin.compiled) == 1 and len(standin.loaded) == 2
    [file] = (tmp_path / "cache").iterdir()
    assert file.read_bytes().endswith(standin.compiled[0].encode())
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("in the way of a folder")
    draw(standin)
    assert len(standin.compiled) == 2


def test_the_cache_may_be_shared(standin: Cupy, tmp_path: Path):
    """Files are readable as the umask says, and one that cannot be read is passed over."""
    before = os.umask(0o027)
    try:
        draw(standin)
    finally:
        os.umask(before)
    [file] = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.unlink()
    file.mkdir()
    draw(standin)
    assert list((tmp_path / "cache").iterdir()) == [file] and len(standin.compiled) == 2


@pytest.mark.parametrize(
    "damage", [lambda code: b"", lambda code: code[:-100], lambda code: b"x" + code[1:],
               lambda code: code[:40] + bytes(8) + code[48:]],
)  # fmt: skip
def test_damaged_files_are_replaced(standin: Cupy, tmp_path: Path, damage):
    draw(standin)
    [file] = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    for _ in range(2):
        draw(standin)
        assert file.read_bytes() == whole and len(standin.compiled) == 2


def test_a_kernel_that_does_not_compile_is_named(standin: Cupy, monkeypatch: pytest.MonkeyPatch):
    def fails(source: str, options: tuple[str, ...]) -> None:
        raise CompileException("default_program(1): error: no such file")

    monkeypatch.setattr(standin.cuda.compiler, "compile_using_nvrtc", fails)
    with pytest.raises(
        RuntimeError, match=r"kernel sample for float32, for compute .*no such file"
    ):
        draw(standin)


def test_threads_that_need_one_kernel_first(standin: Cupy, monkeypatch: pytest.MonkeyPatch):
    """It is compiled and loaded once, and no thread's kernel is unloaded."""
    driver, both = cupy.load().driver, threading.Barrier(4)
    compiled = standin.cuda.compiler.compile_using_nvrtc

    def slowly(source: str, options: tuple[str, ...]) -> tuple[bytes, None]:
        made = compiled(source, options)
        time.sleep(0.05)
        return made

    monkeypatch.setattr(standin.cuda.compiler, "compile_using_nvrtc", slowly)

    def kernel(_: int) -> object:
        both.wait()
        return driver._kernel("velocity", "float64", True, 0)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(kernel, range(4)))
    assert len(set(map(id, found))) == 1
    assert len(standin.compiled) == len(standin.loaded) == 1 and not standin.unloaded


def test_threads_that_need_a_backend_first():
    """All get one and the same, so that no kernels of another are unloaded."""
    both = threading.Barrier(4)

    def factory() -> ExampleBackend:
        both.wait()
        return ExampleBackend()

    register_backend("slow", factory)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(_dispatch.get_backend, ["slow"] * 4))
    finally:
        register_backend("slow", None)
    assert len(set(map(id, found))) == 1


@pytest.fixture
def arrays(standin: Cupy, monkeypatch: pytest.MonkeyPatch) -> Cupy:
    """The stand-in as the library that arrays on a GPU are of."""
    monkeypatch.setattr(_gpu_arrays, "_libraries", {})
    monkeypatch.setattr(_dispatch, "_gpu_default", cupy.load())
    return standin


def close(got: Array, want: np.ndarray) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got.host, want, rtol=4e-5, atol=4e-5)


@pytest.mark.parametrize("device", [0, 1])
def test_public_functions_with_arrays_on_a_gpu(arrays: Cupy, device: int):
    """One launch each on the array's device and the stream there, whatever the current device is;
    the results are on it.
    """
    x = np.random.default_rng(0).normal(size=(6, 8, 4)).astype(np.float32)
    t, few = np.linspace(0.1, 1.0, 6), np.array([[1.0, 2.0]], np.float32)
    keys = {"seed": 4, "offset": 5}
    names = [name for name in KERNELS if name != "simulate_events"]
    there = functools.partial(Array, device=device)

    def pair(make, data: np.ndarray, rates) -> list:
        schedule = {"signal": make(1 - t), "dsignal": -1.0, "clock": make(t), "dclock": 1}
        return list(kacflow_core.sample_pair(make(data), **schedule, a=rates, c=3.0, **keys))

    def everything(make) -> list:
        found = [
            *pair(make, x.swapaxes(1, 2)[:, :2], make(np.float16([[9, 5]]))),  # both are copied
            kacflow_core.sample(make(t), (6, 2, 3), a=make(few), c=2, **keys),
            kacflow_core.velocity(make(x[:, :1]), make(few.reshape(1, 2, 1)), a=9.0, c=3.0),
            kacflow_core.sample(make(t[:0]), 0, a=9.0, c=3.0, seed=1),
        ]
        for name in names:
            given = {
                key: make(value) if isinstance(value, np.ndarray) else value
                for key, value in arguments(name, x, t).items()
            }
            found += parts(getattr(kacflow_core, name)(**given))
        return found

    got, want = everything(there), everything(np.asarray)
    for value, expected in zip(got, want, strict=True):
        assert value.device.id == device
        close(value, expected)
    assert {launch[1:] for launch in arrays.launches} == {(100 + device, device)}
    assert len(arrays.launches) == 3 + len(names)


def test_a_backend_named_for_arrays_on_a_gpu(arrays: Cupy):
    x = Array(np.linspace(-1.0, 1.0, 12, dtype=np.float32))
    got = kacflow_core.velocity(x, 0.5, a=9.0, c=3.0, backend="standin")
    close(got, kacflow_core.velocity(x.host, 0.5, a=9.0, c=3.0))
    for name in ("numba", "reference"):
        with pytest.raises(ValueError, match=f"backend: got '{name}', which does not compute on"):
            kacflow_core.velocity(x, 0.5, a=9.0, c=3.0, backend=name)


def misplaced(value: np.ndarray, shift: int) -> np.ndarray:
    """A copy whose address is ``shift`` bytes from a multiple of its item size."""
    memory = np.zeros(value.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 16 + shift
    view = memory[start : start + value.nbytes].view(value.dtype).reshape(value.shape)
    view[...] = value
    return view


@pytest.mark.parametrize("shift", [1, 2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_addresses_between_the_elements(arrays: Cupy, dtype: str, shift: int):
    """A GPU faults where it reads a number at an address that is no multiple of its size."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(6, 8)).astype(dtype), np.linspace(0.1, 1.0, 6)
    grid = np.linspace(0.1, 1.0, 18).reshape(6, 3)
    where, working = {"a": 9.0, "c": 3.0}, "float64" if dtype == "float64" else "float32"

    def everything(make) -> list:
        schedule = {"signal": make(1 - t), "dsignal": -1.0, "clock": make(t), "dclock": 1.0}
        return [
            *kacflow_core.sample_pair(make(x), **schedule, **where, seed=1),
            kacflow_core.sample(make(t), (6, 2), a=make(t.astype(np.float32)), c=3.0, seed=1),
            kacflow_core.velocity(make(x), make(t[:, None]), **where),
            kacflow_core.logpdf(make(x.astype(working)), make(t[:, None]), **where),
            *kacflow_core.sample_path(
                make(grid.astype(working)), (6, 5), a=make(t), c=3.0, seed=1, dtype=working
            ),
        ]

    wrong: set[int] = set()

    def there(value: np.ndarray) -> Array:
        view = misplaced(value, shift)
        kept.append(view)
        if view.ctypes.data % view.itemsize:
            wrong.add(view.ctypes.data)
        return Array(view)

    kept: list[np.ndarray] = []
    for got, want in zip(everything(there), everything(np.asarray), strict=True):
        close(got, want)
    words = {int(word) for job in arrays.jobs for word in np.frombuffer(job, np.uint64)}
    assert len(arrays.jobs) == 5 and wrong and not wrong & words
    # Neither what casts nor what gathers strided elements reads them there.
    half = there(np.abs(x).astype("float16"))
    close(
        kacflow_core.velocity(there(x)[:, ::2], half[:, ::2], **where),
        kacflow_core.velocity(x[:, ::2], half.host[:, ::2], **where),
    )


class OfJax:
    """An array of JAX: CuPy adopts it by DLPack."""

    __module__ = "jaxlib._jax"

    def __init__(self, array: Array) -> None:
        self.array = array

    __dlpack_device__ = property(lambda self: self.array.__dlpack_device__)
    __dlpack__ = None  # whose presence is asked for; the stand-in takes the array itself


class OfNumba:
    """An array of Numba, which CuPy adopts by __cuda_array_interface__."""

    __module__ = "numba.cuda.cudadrv.devicearray"
    __cuda_array_interface__ = None

    def __init__(self, array: Array) -> None:
        self.array = array


@pytest.mark.parametrize(
    ("kind", "adopts", "module", "gives_back"),
    [
        (OfJax, "from_dlpack", "jax.dlpack", "from_dlpack"),
        (OfNumba, "asarray", "numba.cuda", "as_cuda_array"),
    ],
)
def test_arrays_of_other_libraries(
    arrays: Cupy, monkeypatch: pytest.MonkeyPatch, kind: type, adopts: str, module: str,
    gives_back: str,
):  # fmt: skip
    """Handled with CuPy, and answered in kind."""
    monkeypatch.setattr(arrays, adopts, lambda value: value.array, raising=False)
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{gives_back: kind}))
    x = np.linspace(-1.0, 1.0, 12, dtype=np.float32)
    got = kacflow_core.velocity(kind(Array(x, 1)), 0.5, a=kind(Array(np.full(12, 9.0), 1)), c=3.0)
    assert type(got) is kind
    assert arrays.waited == [1]  # else the caller could drop x before it was read
    close(got.array, kacflow_core.velocity(x, 0.5, a=9.0, c=3.0))


def test_arrays_on_two_devices_are_refused(arrays: Cupy):
    x = Array(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="t: is on device 1; allowed: device 0, where x is"):
        kacflow_core.velocity(x, Array(np.ones(3), 1), a=1.0, c=1.0)
    with pytest.raises(ValueError, match=r"a: an array of shape \(3,\) on the CPU"):
        kacflow_core.velocity(x, 1.0, a=np.ones(3), c=1.0)
    assert arrays.device == -1


def test_other_headers_are_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The cache on disk is keyed by a hash of the headers, among others."""
    copied = Path(shutil.copytree(cupy.include_folder(), tmp_path / "include"))
    digests = {cupy._digest(copied), cupy._digest(cupy.include_folder())}
    assert len(digests) == 1
    for header in ("kac/pair.h", "cuda/tiles.h", "jobs.h"):
        (copied / header).write_text((copied / header).read_text() + "\n")
        digests.add(cupy._digest(copied))
    assert len(digests) == 4


def test_cuda_is_not_initialised_by_looking(standin: Cupy, monkeypatch: pytest.MonkeyPatch):
    """Where NVML tells which GPUs there are, CUDA is not asked."""
    standin.devices = -1
    monkeypatch.setattr(_gpus, "machine", lambda: _gpus.Machine([90], 13020))
    assert cupy.load().name == "cupy"
    monkeypatch.setattr(_gpus, "machine", lambda: _gpus.Machine([90], 12090))
    with pytest.raises(ImportError, match=r"driver supports CUDA 12\.9, and CUDA 13\.0 is needed"):
        cupy.load()


def test_reasons(standin: Cupy):
    standin.devices = 0
    with pytest.raises(ImportError, match="no GPU: no CUDA device"):
        cupy.load()
    standin.devices = -1
    with pytest.raises(ImportError, match="no GPU: cudaErrorInsufficientDriver"):
        cupy.load()
    standin.devices = 1

    def missing() -> None:
        raise RuntimeError("libnvrtc.so.13: cannot open shared object file")

    standin.cuda.nvrtc.getVersion = missing
    with pytest.raises(ImportError, match="CuPy finds no NVRTC"):
        cupy.load()

    def broken() -> int:
        raise AttributeError("libcudart.so.13 was not found")

    standin.cuda.runtime.getDeviceCount = broken
    with pytest.raises(ImportError, match=r"no GPU: libcudart\.so\.13"):
        cupy.load()


def test_a_cupy_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As an old one on a new NumPy, which raises what it likes."""
    (tmp_path / "cupy.py").write_text("raise AttributeError('_ARRAY_API not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(ImportError, match=r"cannot be imported \(AttributeError: _ARRAY_API not"):
        cupy.load()


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As in a container that runs under any user's number."""
    pwd = pytest.importorskip("pwd")

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    assert cupy.cache_folder() == tmp_path
    monkeypatch.delenv("CUPY_CACHE_DIR")
    assert cupy.cache_folder().name == "kernel_cache"
