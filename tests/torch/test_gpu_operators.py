"""The operators' kernels as on a GPU, on tensors in memory and a simulated grid.

Everything but CUDA itself: layouts, strides, alignment, parameters by value and by pointer, seeds
that the kernel reads, shapes and types of the results.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from operator_calls import of_the_position, operator_calls

import kacflow_core._gpu_arrays as gpu_arrays
from kacflow.ops import _kernels, _splines
from kacflow_core import _layout, _run
from kacflow_core._run import Target
from kacflow_core.backends._device import DeviceBackend
from kacflow_core.backends._jobs import Noise

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from simulated_gpu import SimulatedDriver, compile_grid

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
OPS = torch.ops.kacflow
SEED = torch.tensor(12345678901234)


class HostTensors(gpu_arrays.TorchArrays):
    """Tensors in memory, as if it were that of device 0."""

    def device(self, array: torch.Tensor) -> int:
        return 0

    def stream(self, device: int) -> int:
        return 0

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self._dtypes[dtype]).fill_(torch.nan)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDriver]:
    yield SimulatedDriver(compile_grid(tmp_path_factory.mktemp("grid")))


class Gpu:
    """The kernels on the simulated grid: every call is made here and on the CPU."""

    def __init__(self, driver: SimulatedDriver, patch: pytest.MonkeyPatch) -> None:
        self.driver, self._patch = driver, patch
        self.target = Target(DeviceBackend(driver), HostTensors(torch), 0)

    def __call__(self, name: str, *args: object) -> tuple[torch.Tensor, ...]:
        with self._patch.context() as patch:
            patch.setattr(_kernels, "_READY", {})
            patch.setattr(_kernels, "target_of", lambda name, value: self.target)
            patch.setattr(
                _kernels, "noise_of",
                lambda seed, offset, where: (Noise(0, offset % 2**64, seed.data_ptr()), seed),
            )  # fmt: skip
            launches = len(self.driver.launches)
            kernel = getattr(_kernels, name, None) or _kernels.POINTS[name]
            found = kernel(*args)
            size = torch.as_tensor(found[0] if isinstance(found, tuple) else found).numel()
            assert len(self.driver.launches) == launches + (size > 0)
        return found if isinstance(found, tuple) else (found,)


@pytest.fixture
def gpu(driver: SimulatedDriver, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(driver, monkeypatch)


def close(got: Sequence[torch.Tensor], wanted: torch.Tensor | Sequence[torch.Tensor]) -> None:
    wanted = (wanted,) if isinstance(wanted, torch.Tensor) else wanted
    for value, want in zip(got, wanted, strict=True):
        assert value.shape == want.shape and value.dtype == want.dtype
        narrow = value.dtype in (torch.bfloat16, torch.float16)
        tolerance = 2e-2 if narrow else 2e-5 if value.dtype == torch.float32 else 1e-10
        torch.testing.assert_close(value, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_pair(gpu: Gpu, dtype: torch.dtype):
    x = torch.randn(6, 3, 8, 8).to(dtype)
    t = torch.rand(6)
    channels = torch.tensor([[1.0, 5.0, 20.0]])
    for data in (x, x.transpose(2, 3), x[..., 1:], x.flatten()[1:].reshape(-1)[:1150].view(5, 230)):
        n = data.shape[0]
        a = channels if data.ndim == 4 else torch.tensor(4.0)
        given = (a, torch.tensor(2.0), 1 - t[:n], torch.tensor(-1.0), t[:n], torch.tensor(1.0))
        args = data, *given, SEED, 5
        close(gpu("sample_pair", *args), OPS.sample_pair(*args))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2500, 1, 1), (1, 1, 2500), (130, 7, 1), (5, 3, 44), (0, 2, 3)])
def test_splines(gpu: Gpu, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype):
    """Values, inverses, gradients and sums, from tensors in awkward memory as well."""
    width, height, slope = (0.5 * torch.randn(3, shape[1], 6, dtype=dtype)).exp()
    knots = [width.cumsum(1) - 3.0, height.cumsum(1) - 3.0, slope]
    x = 3.0 * torch.randn(2, *shape, dtype=dtype)
    turned = x[1].transpose(0, 2).contiguous().transpose(0, 2)  # strides of other order
    for data in (x[0], turned):
        for name, args in (
            ("spline", (data, *knots)), ("spline_inverse", (data, *knots)),
            ("spline_grad", (data, data + 1.0, -data, *knots)),
        ):  # fmt: skip
            want = getattr(OPS, f"_{name}")(*args)
            launches = len(gpu.driver.launches)
            with monkeypatch.context() as patch:
                patch.setattr(_splines, "target_of", lambda name, value: gpu.target)
                got = getattr(_splines, name)(*args)
            assert len(gpu.driver.launches) == launches + (data.numel() > 0)
            got, want = ((v,) if isinstance(v, torch.Tensor) else v for v in (got, want))
            for value, exact in zip(got, want, strict=True):
                scale = max(float(exact.abs().max()), 1e-30) if exact.numel() else 1.0
                close([value / scale], [exact / scale])


@pytest.mark.parametrize("clock", [1, 2])
@pytest.mark.parametrize("signal", [1, 2, 3, 4, 5])
def test_named_schedules(gpu: Gpu, signal: int, clock: int):
    """Bit for bit in float64, where both sides compute every row alike."""
    t = torch.linspace(0, 0.7, 6, dtype=torch.float64)
    a, c = torch.tensor([[1.0, 5.0, 20.0]], dtype=torch.float64), torch.tensor(2.0)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = torch.randn(6, 3, 5).to(dtype)
        args, kinds = (x, t, a, c.double(), SEED, 5), (signal, clock, 0.7)
        close(gpu("sample_pair_scheduled", *args, kinds), OPS.sample_pair_scheduled(*args, *kinds))
        for own in (0, 1):  # of one the values are given
            args = x, t, a, c.double(), t.cos(), t.sin(), SEED, 5
            kinds = (0, clock, 0.7) if own == 0 else (signal, 0, 0.7)
            close(gpu("sample_pair_partly", *args, kinds), OPS.sample_pair_partly(*args, *kinds))


def test_the_short_way_to_a_layout_is_the_long_one():
    """Parameters of up to two axes: the layout and strides of the views."""
    library, t = HostTensors(torch), torch.rand(12, dtype=torch.float64)
    channel = torch.rand(1, 2, dtype=torch.float64)
    vectors = (t[::2], t[:6].float(), t[0], 3.0, t[:6].view(6, 1), channel, channel.expand(6, 2))
    for shape in ((6, 2), (6, 2, 3)):
        for chosen in (vectors, vectors[2:5], vectors[5:], vectors[:4]):
            given = dict(zip("abcdefg", chosen, strict=False))
            arrays = {n: v for n, v in given.items() if not isinstance(v, float)}
            layout, views = _layout.leading(shape, arrays, torch.broadcast_to)
            found = _run.by_strides(library, shape, given)
            assert found is not None and found[0].size == layout.size
            kept: list[object] = []
            long = dict(zip(arrays, views, strict=True))
            for (name, value), row in zip(given.items(), found[1], strict=True):
                if isinstance(value, float):
                    assert row == (0, value, False, 0, 0)
                elif found[0] == layout:
                    assert row == _run._parameter(library, long[name], kept)
    refused = ((6, 2), t[:5]), ((5, 2), t[:6]), ((0, 2), t[:0]), ((6, 2, 3), t.view(2, 2, 3))
    for shape, value in refused:
        assert _run.by_strides(library, shape, {"a": value}) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sample(gpu: Gpu, dtype: torch.dtype):
    t = torch.rand(7, dtype=dtype)[::2]
    a = torch.full((4, 5), 3.0, dtype=dtype)[:, :1]
    args = (t, a, torch.tensor(2.0), SEED, 0, (4, 5), dtype)
    close(gpu("sample", *args), OPS.sample(*args))
    assert gpu("sample", t[:0], args[2], *args[2:5], (0, 5), dtype)[0].shape == (0, 5)


@pytest.mark.parametrize("name", filter(of_the_position, operator_calls()))
def test_points(gpu: Gpu, name: str):
    """Everything broadcasts."""
    t, x = torch.rand(4, 1), torch.randn(3, 1, 5)
    values = {"x": x, "q": torch.rand(3, 1, 5), "t": t, "s": 0.6 * t, "a": torch.tensor(3.0)}
    values["c"] = torch.rand(5) + 0.5
    args = [values[argument] for argument in operator_calls()[name]]
    close(gpu(name, *args), getattr(OPS, name)(*args))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_path(gpu: Gpu, dtype: torch.dtype):
    times = torch.rand(4, 40, dtype=dtype).cumsum(1)[:, ::2]
    args = (times, torch.tensor(3.0), torch.ones(4, dtype=dtype), SEED, 0, (4, 33), dtype)
    close(gpu("sample_path", *args), OPS.sample_path(*args))


def test_what_is_where_is_checked():
    x, elsewhere = torch.zeros(3), torch.zeros(3, device="meta")
    with pytest.raises(ValueError, match=r"a: is on cpu; allowed: meta"):
        _kernels._parameter("a", x, elsewhere.device)
    assert _kernels._parameter("a", torch.tensor([2.0]), elsewhere.device) == 2.0
    with pytest.raises(ValueError, match="x: is on meta; allowed: the CPU or a GPU"):
        _kernels.target_of("x", elsewhere)


def test_parameters_of_other_types():
    device = torch.device("cpu")
    for dtype, kind in ((torch.float16, torch.float32), (torch.int64, torch.float64)):
        assert _kernels._parameter("a", torch.ones(3, dtype=dtype), device).dtype is kind


def test_views_with_another_sign(gpu: Gpu):
    """torch keeps the conjugate of an imaginary part as its memory and a sign."""
    z = torch.randn(6, 5, dtype=torch.complex64)
    x, t = z.conj().imag, (0.5 * torch.rand(6) - 1j * torch.rand(6)).conj().imag
    assert x.is_neg() and t.is_neg()
    one = torch.tensor(1.0)
    plain = (-z.imag, one, one, one - t, -one, t.resolve_neg(), one)
    got = gpu("sample_pair", x, one, one, one - t, -one, t, one, SEED, 0)
    for value, want in zip(got, gpu("sample_pair", *plain, SEED, 0), strict=True):
        assert torch.equal(value, want)


@pytest.mark.parametrize("shift", [1, 2])
def test_addresses_between_the_elements(gpu: Gpu, shift: int):
    """Copied byte by byte, since a GPU cannot read a number there."""
    values = torch.randn(5, 8)
    memory = bytearray(values.numel() * 4 + 32)
    start = -torch.frombuffer(memory, dtype=torch.uint8).data_ptr() % 16 + shift
    x = torch.frombuffer(memory, dtype=torch.float32, count=40, offset=start).view(5, 8)
    x.copy_(values)
    assert x.data_ptr() % 4 == shift
    for view in (x, x[:, ::2], x.T, x[0, 0], x[1:1]):
        got = gpu.target.library.copy(view)
        assert got.is_contiguous() and got.data_ptr() % 4 == 0 and torch.equal(got, view)
    gpu("velocity", x, *map(torch.tensor, (0.5, 9.0, 3.0)))
    gpu("velocity", x[:, ::2], *map(torch.tensor, (0.5, 9.0, 3.0)))


def test_numbers_beside_values_that_cannot_be_read():
    """What is known here is checked here, wherever the rest is."""
    there = torch.empty(3, device="meta")
    assert _kernels.extent(there) == (math.inf, -math.inf)
    _kernels.check_process(torch.float32, *map(_kernels.extent, (there, there, there)))
    _kernels.check_process(torch.float32, *map(_kernels.extent, (there, 9.0, 3.0)))
    a, c, t = map(_kernels.extent, (9.0, 3.0, there))
    _kernels._check_pair(torch.float32, (1, 2, 1.0), 0.0, a, c, t)
    for numbers, name in (((1e300, there, there), "t"), ((there, 1e300, 3.0), "a"),
                          ((1.0, there, -1.0), "c"), ((1e30, 1e30, there), "a\\*t")):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: got"):
            _kernels.check_process(torch.float32, *map(_kernels.extent, numbers))


def test_seeds_that_no_kernel_can_read():
    here = torch.zeros(3)
    assert _kernels.noise_of(torch.tensor(5, dtype=torch.int32), 7, here)[0][:2] == (5, 7)
    for seed in (torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"seed: got .*allowed: one integer"):
            _kernels.noise_of(seed, 0, here)
    with pytest.raises(ValueError, match="seed: got -1"):
        _kernels.noise_of(torch.tensor(-1), 0, here)
