"""The operators' GPU implementations, on tensors in memory and a simulated grid.

Everything but CUDA itself: layouts, strides, alignment, parameters by value and by pointer, seeds
that the kernel reads, shapes and types of the results.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import kacflow_core._gpu_arrays as gpu_arrays
from kacflow import KacProcess, _cuda_ops
from kacflow_core import _gpu, _layout
from kacflow_core.backends._device import DeviceBackend

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from simulated_gpu import SimulatedDriver, compile_grid

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
OPS = torch.ops.kacflow


class HostTensors(gpu_arrays.TorchArrays):
    """Tensors in memory, as if it were that of device 0."""

    def device(self, array: torch.Tensor) -> int:
        return 0

    def stream(self, device: int) -> int:
        return 0

    def empty(self, shape: int | Sequence[int], dtype: str, device: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self._dtypes[dtype]).fill_(torch.nan)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDriver]:
    yield SimulatedDriver(compile_grid(tmp_path_factory.mktemp("grid")))


@pytest.fixture
def gpu(library: SimulatedDriver, monkeypatch: pytest.MonkeyPatch) -> SimulatedDriver:
    """The module's functions with CPU tensors for GPU ones."""
    backend = DeviceBackend(library)
    monkeypatch.setattr(_cuda_ops, "get_gpu_backend", lambda: backend)
    monkeypatch.setattr(_cuda_ops, "_library", lambda: HostTensors(torch))
    monkeypatch.setattr(_cuda_ops, "_on_gpu", lambda name, value: torch.device("cpu"))
    monkeypatch.setattr(_cuda_ops, "_noise", lambda seed, offset, device: (
        _cuda_ops.Noise(0, offset % 2**64, seed.data_ptr()), seed
    ))  # fmt: skip
    return library


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype
    narrow = got.dtype in (torch.bfloat16, torch.float16)
    tolerance = 2e-2 if narrow else 2e-5 if got.dtype == torch.float32 else 1e-10
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


SEED = torch.tensor(12345678901234)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_pair(gpu: SimulatedDriver, dtype: torch.dtype):
    x = torch.randn(6, 3, 8, 8).to(dtype)
    t = torch.rand(6)
    channels = torch.tensor([[1.0, 5.0, 20.0]])
    for data in (x, x.transpose(2, 3), x[..., 1:], x.flatten()[1:].reshape(-1)[:1150].view(5, 230)):
        n = data.shape[0]
        a = channels if data.ndim == 4 else torch.tensor(4.0)
        given = (a, torch.tensor(2.0), 1 - t[:n], torch.tensor(-1.0), t[:n], torch.tensor(1.0))
        got = _cuda_ops.sample_pair(data, *given, SEED, 5)
        for value, want in zip(got, OPS.sample_pair(data, *given, SEED, 5), strict=True):
            close(value, want)


def test_the_short_way_to_the_pair_is_the_long_one():
    """Numbers and vectors along the first axis: the same layout and parameters."""
    library, t = HostTensors(torch), torch.rand(12, dtype=torch.float64)
    vectors = (t[::2], t[:6].float(), t[0].float(), np.array(3.0), np.array([2.0]))
    for shape in ((6,), (6, 5), (6, 2, 3)):
        for chosen in (vectors, vectors[2:]):
            given = dict(zip("abcde", chosen, strict=False))
            layout, rows = _layout.leading(shape, given, torch.broadcast_to)
            long = [_gpu.as_parameter(library, row) for row in rows]
            assert _gpu.per_sample(library, shape, given) == (layout, long)
    for shape, value in (((6, 2), t[:6].view(6, 1)), ((5, 2), t[:6]), ((0, 2), t[:0])):
        assert _gpu.per_sample(library, shape, {"a": value}) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sample(gpu: SimulatedDriver, dtype: torch.dtype):
    t = torch.rand(7, dtype=dtype)[::2]
    a = torch.full((4, 5), 3.0, dtype=dtype)[:, :1]
    args = (t, a, torch.tensor(2.0), SEED, 0, (4, 5), dtype)
    close(_cuda_ops.sample(*args), OPS.sample(*args))
    assert _cuda_ops.sample(t[:0], args[2], *args[2:5], (0, 5), dtype).shape == (0, 5)


def test_points(gpu: SimulatedDriver):
    x = torch.randn(3, 1, 5)
    t, a, c = torch.rand(4, 1), torch.tensor(3.0), torch.rand(5) + 0.5
    for name in ("velocity", "logpdf", "cdf"):
        close(_cuda_ops._one(name)(x, t, a, c), getattr(OPS, name)(x, t, a, c))
    q = torch.rand(3, 1, 5)
    close(_cuda_ops._one("ppf")(q, t, a, c), OPS.ppf(q, t, a, c))
    for value, want in zip(
        _cuda_ops.velocity_grad(x, t, a, c), OPS.velocity_grad(x, t, a, c), strict=True
    ):
        close(value, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_path(gpu: SimulatedDriver, dtype: torch.dtype):
    times = torch.rand(4, 40, dtype=dtype).cumsum(1)[:, ::2]
    args = (times, torch.tensor(3.0), torch.ones(4, dtype=dtype), SEED, 0, (4, 33), dtype)
    for value, want in zip(_cuda_ops.sample_path(*args), OPS.sample_path(*args), strict=True):
        close(value, want)


def test_what_is_where_is_checked():
    x = torch.zeros(3)
    with pytest.raises(ValueError, match=r"x_0: is on cpu"):
        _cuda_ops.sample_pair(x, *[x] * 6, SEED, 0)
    with pytest.raises(ValueError, match=r"a: is on cpu; allowed: cuda:0"):
        _cuda_ops._parameter("a", x, torch.device("cuda:0"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rates_as_numbers_and_as_tensors(gpu: SimulatedDriver, dtype: torch.dtype):
    """A number goes to the kernel in double precision, which rounds it as a tensor would be."""
    x, t = torch.randn(6, 5).to(dtype), torch.rand(6)
    process = KacProcess(1 / 3, 2 / 3)
    numbers = process._by_value()
    assert numbers == (1 / 3, 2 / 3) and KacProcess(1 / 3, t)._by_value() is None
    draws = []
    for a, c in (numbers, process._parameters(x.device, dtype)):
        values = (a, c, 1 - t, -1.0, t, 1.0)
        given = dict(zip(_cuda_ops.PARAMETERS, values, strict=True))
        draws.append(_cuda_ops.pair(x, given, SEED, 0))
    for value, want in zip(*draws, strict=True):
        assert torch.equal(value, want)


def test_views_with_another_sign(gpu: SimulatedDriver):
    """torch keeps the conjugate of an imaginary part as its memory and a sign."""
    z = torch.randn(6, 5, dtype=torch.complex64)
    x, t = z.conj().imag, (0.5 * torch.rand(6) - 1j * torch.rand(6)).conj().imag
    assert x.is_neg() and t.is_neg()
    one = torch.tensor(1.0)
    plain = (-z.imag, one, one, one - t, -one, t.resolve_neg(), one)
    got = _cuda_ops.sample_pair(x, one, one, one - t, -one, t, one, SEED, 0)
    for value, want in zip(got, _cuda_ops.sample_pair(*plain, SEED, 0), strict=True):
        assert torch.equal(value, want)


def test_seeds_that_no_kernel_can_read():
    device = torch.device("cpu")
    assert _cuda_ops._noise(torch.tensor(5, dtype=torch.int32), 7, device)[0][:2] == (5, 7)
    for seed in (torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"seed: got .*allowed: one integer"):
            _cuda_ops._noise(seed, 0, device)
    with pytest.raises(ValueError, match="seed: got -1"):
        _cuda_ops._noise(torch.tensor(-1), 0, device)
