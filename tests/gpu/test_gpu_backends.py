"""The GPU backends against the definition, and against the CPU on the same noise."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import kacflow_core

#: Largest |difference|/(c t min(1, tau^-1/2)) of draws from those of the CPU: the error of both,
#: 1.6e-6 and 5.5e-7 in float32 (tests/core/test_simulated_grid.py).
NOISE = {"float32": 2.2e-6, "float64": 3e-15}


def test_conformance(gpu_backend: str):
    from kacflow_core.testing import check_backend

    assert check_backend(gpu_backend).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tau", [1e-6, 1e-2, 1.0, 9.0, 39.9, 40.1, 300.0, 1e5, 1e9])
def test_the_noise_of_the_cpu(gpu_backend: str, dtype: str, tau: float):
    n, where = 1_000_003, {"a": tau, "c": 1.0, "seed": 7, "offset": 2**32 - 1000, "dtype": dtype}
    got = kacflow_core.sample(1.0, n, backend=gpu_backend, **where)
    want = kacflow_core.sample(1.0, n, **where)
    assert np.abs(got - want).max() / min(1.0, tau**-0.5) <= NOISE[dtype]
    # Atoms of both are the same elements, since the uniforms are equal bit for bit; a draw next to
    # the edge may round to it.
    if tau >= 1.0:
        got, want = np.abs(got), np.abs(want)
        np.testing.assert_array_equal(got[want == 1.0], 1.0)
        assert (want[got == 1.0] >= 1.0 - NOISE[dtype]).all()


def test_equal_bits_on_both_backends():
    from kacflow_core._dispatch import GPU, available_backends

    names = [name for name in available_backends() if name in GPU]
    if len(names) < 2:
        pytest.skip("one GPU backend only")
    for c in (3.0, 2e-37):  # some draws of the second are denormal
        draws = [
            kacflow_core.sample(0.5, 100_001, a=9.0, c=c, seed=1, dtype="float32", backend=n)
            for n in names
        ]
        assert draws[0].any()
        np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("library", ["torch", "cupy", "numba", "jax"])
def test_arrays_of_every_library(gpu_backend: str, library: str):
    x = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    schedule = {"signal": 0.5, "dsignal": -1.0, "clock": 0.5, "dclock": 1.0}
    keys = {"a": 9.0, "c": 3.0, "seed": 3}
    want = kacflow_core.sample_pair(x, **schedule, **keys)
    module = pytest.importorskip("numba.cuda" if library == "numba" else library)
    if library == "numba" and not module.is_available():
        pytest.skip("numba cannot use the GPU here")
    to = {
        "torch": lambda: module.from_numpy(x).cuda(),
        "cupy": lambda: module.asarray(x),
        "numba": lambda: module.to_device(x),
        "jax": lambda: module.numpy.asarray(x),
    }[library]
    data = to()
    from kacflow_core._gpu_arrays import on_gpu

    if not on_gpu(data):
        pytest.skip(f"{library} has no GPU here")
    got = kacflow_core.sample_pair(data, **schedule, **keys)
    for value, expected in zip(got, want, strict=True):
        assert type(value).__module__.partition(".")[0] == type(data).__module__.partition(".")[0]
        host = value.cpu().numpy() if library == "torch" else None
        host = module.asnumpy(value) if library == "cupy" else host
        host = value.copy_to_host() if library == "numba" else host
        host = np.asarray(value) if host is None else host
        np.testing.assert_allclose(host, expected, rtol=2e-5, atol=2e-5)


def test_addresses_between_the_elements(gpu_backend: str):
    """Copied before a kernel reads them, where reading them would be a fault."""
    torch, cupy = pytest.importorskip("torch"), pytest.importorskip("cupy")
    memory = torch.zeros(4 * 99 + 16, dtype=torch.uint8, device="cuda")

    x = np.linspace(-1.4, 1.4, 99, dtype=np.float32)
    memory[1 : 4 * 99 + 1] = torch.from_numpy(x.view(np.uint8)).cuda()
    where = {"shape": (99,), "typestr": "<f4", "data": (memory.data_ptr() + 1, False), "version": 3}
    data = cupy.asarray(SimpleNamespace(__cuda_array_interface__=where))
    got = kacflow_core.velocity(data, 0.5, a=9.0, c=3.0)
    want = kacflow_core.velocity(x, 0.5, a=9.0, c=3.0)
    np.testing.assert_allclose(cupy.asnumpy(got), want, rtol=1e-6)


FORK = """
import os
import kacflow_core
info = kacflow_core.build_info()
child = os.fork()
if child == 0:
    try:
        drawn = kacflow_core.sample(1.0, 9, a=9.0, c=3.0, seed=0, backend=os.environ["BACKEND"])
        os._exit(0 if drawn.any() else 1)
    except BaseException as error:
        os.write(2, f"{error}\\n".encode())
        os._exit(2)
assert os.waitpid(child, 0)[1] == 0
"""


def test_children_forked_after_looking(gpu_backend: str):
    from kacflow_core.backends._gpus import machine

    if machine() is None:
        pytest.skip("no NVML here")
    done = subprocess.run(
        [sys.executable, "-c", FORK], env={**os.environ, "BACKEND": gpu_backend},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_failed_launch_names_the_kernel(gpu_backend: str):
    from kacflow_core._dispatch import get_backend
    from kacflow_core.backends import _jobs

    backend = get_backend(gpu_backend)
    one = _jobs.Parameter(value=1.0)
    from kacflow_core._layout import Layout

    launch = _jobs.sample("float32", Layout(1, 1, 4), 0, one, one, one, _jobs.Noise(0, 0))
    launch = launch._replace(plan=launch.plan._replace(threads=4096))
    with pytest.raises(RuntimeError, match="kernel sample for float32"):
        backend.driver.launch(launch, 0, 0)
