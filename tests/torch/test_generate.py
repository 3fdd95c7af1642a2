"""Generation on a field whose solution is known: orders, grids, trajectories, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kacflow import GaussianPath, KacPath, KacProcess, Path, UniformProcess, generate
from kacflow.generate import ADAPTIVE, FIXED_STEP

PATH = KacPath(KacProcess(9.0, 3.0), T=1.0)
ORDERS = {"euler": 1, "ab2": 2, "heun": 2, "midpoint": 2, "rk4": 4}
EVALUATIONS = {"euler": 1, "ab2": 1, "heun": 2, "midpoint": 2, "rk4": 4}


def field(x, t):
    """dx/dt = -x sin(3 t): x(0) = x(1) exp((1 - cos 3)/3)."""
    assert t.shape == (len(x),)
    return -x * torch.sin(3 * t)[:, None]


START = torch.linspace(-1, 2, 6, dtype=torch.float64).reshape(3, 2)
END = START * math.exp((1 - math.cos(3.0)) / 3)


def error(method, **options):
    return (generate(field, START, PATH, method=method, **options) - END).abs().max().item()


def test_tables_agree():
    assert set(ORDERS) == set(FIXED_STEP)


@pytest.mark.parametrize("method", FIXED_STEP)
def test_order_of_convergence(method):
    ratio = error(method, steps=40) / error(method, steps=80)
    assert math.log2(ratio) == pytest.approx(ORDERS[method], abs=0.25)


@pytest.mark.parametrize("method", ["ab2", "heun", "rk4"])
def test_order_on_an_uneven_grid(method):
    def grid(n):
        return [(1 - i / n) ** 1.7 for i in range(n + 1)]

    ratio = error(method, t_grid=grid(60)) / error(method, t_grid=grid(120))
    assert math.log2(ratio) == pytest.approx(ORDERS[method], abs=0.35)


@pytest.mark.parametrize("method", FIXED_STEP)
def test_evaluations_per_step(method):
    calls = []

    def counting(x, t):
        calls.append(float(t[0]))
        return field(x, t)

    generate(counting, START, PATH, method=method, steps=10)
    assert len(calls) == 10 * EVALUATIONS[method]
    assert calls[0] == 1.0 and min(calls) >= 0.0


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_adaptive_methods(method):
    pytest.importorskip("torchdiffeq")
    assert method in ADAPTIVE
    assert error(method, rtol=1e-8, atol=1e-10) < 1e-6


def test_trajectory_and_end_time():
    points = generate(field, START, PATH, steps=5, return_trajectory=True)
    assert points.shape == (6, 3, 2) and torch.equal(points[0], START)
    assert torch.equal(points[-1], generate(field, START, PATH, steps=5))
    part = generate(field, START, PATH, steps=200, method="rk4", t_min=0.4)
    expected = START * math.exp((math.cos(1.2) - math.cos(3.0)) / 3)
    torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-9)


def test_gradients_follow_the_caller():
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    generate(lambda x, t: scale * field(x, t), START, PATH, steps=50).sum().backward()
    assert scale.grad is not None
    with torch.no_grad():
        assert not generate(lambda x, t: scale * x, START, PATH, steps=2).requires_grad


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"method": "leapfrog"}, ValueError, "method: got 'leapfrog'; allowed: euler"),
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"steps": 2.5}, TypeError, "steps: got float 2.5"),
        ({"t_min": 1.0}, ValueError, "t_min: got 1.0"),
        ({"t_grid": [0.0, 1.0]}, ValueError, "t_grid: got"),
        ({"t_grid": [2.0, 0.0]}, ValueError, "t_grid: got 2 to 0"),
        ({"t_grid": "10"}, ValueError, "t_grid: got '10'; allowed: uniform"),
        ({"t_grid": [1.0, None]}, TypeError, "t_grid: got None"),
        ({"t_grid": torch.tensor([1 + 1e-5, 0.0])}, ValueError, "t_grid: got 1.00001 to 0"),
        ({"rtol": 1e-3}, TypeError, r"options: got \['rtol'\]"),
        ({"method": "dopri5", "tolerance": 1e-3}, TypeError, r"options: got \['tolerance'\]"),
        ({"method": "dopri5", "rtol": math.nan}, ValueError, "rtol: got nan"),
        ({"method": "dopri5", "atol": "1"}, TypeError, "atol: got str '1'"),
        ({"method": "dopri5", "rtol": 0, "atol": 0}, ValueError, "rtol: got 0"),
        ({"method": "dopri5", "options": 3}, TypeError, "options: got int 3"),
        ({"method": 5}, TypeError, "method: got int 5"),
        ({"method": "dopri5", "options": {"max_num_steps": 2}}, ValueError, "method: 'dopri5' c"),
    ],
)
def test_bad_input(options, error_type, message):
    with pytest.raises(error_type, match=message):
        generate(field, START, PATH, **options)


def test_bad_start():
    with pytest.raises(TypeError, match=r"x_T: got dtype torch\.int64"):
        generate(field, torch.ones(2, 2).long(), PATH)


SIXTEEN = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


@SIXTEEN
@pytest.mark.parametrize("method", FIXED_STEP)
def test_many_small_steps_in_16_bits(method, dtype):
    """Increments below half a spacing of the type add up: dx/dt = -1 from 1 ends at 2."""
    x = torch.ones(3, 1, dtype=dtype)
    for steps in (1, 10, 300, 3000):
        end = generate(lambda x, t: -torch.ones_like(x), x, PATH, steps=steps, method=method)
        assert end.dtype == dtype and torch.equal(end, 2 * x)


@SIXTEEN
@pytest.mark.parametrize("method", ["euler", "rk4", *ADAPTIVE])
def test_accuracy_in_16_bits(method, dtype):
    """The model sees its own type, and the result is that of float64 up to its rounding."""
    if method in ADAPTIVE:
        pytest.importorskip("torchdiffeq")
    calls = []

    def model(x, t):
        assert x.dtype == t.dtype == dtype
        calls.append(float(t[0]))
        return field(x, t)

    end = generate(model, START.to(dtype), PATH, steps=500, method=method)
    spacing = torch.finfo(dtype).eps * END.abs().max()
    assert end.dtype == dtype and (end.double() - END).abs().max() < 1.5 * spacing
    assert len(calls) <= 2000 and min(calls) >= 0 and max(calls) <= 1
    points = generate(model, START.to(dtype), PATH, steps=7, method=method, return_trajectory=True)
    assert points.shape == (8, 3, 2) and points.dtype == dtype


@pytest.mark.parametrize("T", [0.3, 0.7, 2.3, 1e-5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_times_stay_within_the_horizon(T, dtype):
    """Whatever the rounding of T to the type: path.velocity takes every time that it is given."""
    path = KacPath(KacProcess(9.0, 3.0), T=T)
    x = path.sample_prior((4, 2), dtype=torch.float64).to(dtype)
    times = []

    def model(x, t):
        times.append(t.double())
        return path.velocity(x, t, torch.zeros_like(x))

    for method in ("euler", "heun", "dopri5"):
        generate(model, x, path, steps=3, method=method)
    grid = torch.linspace(1, 0, 5).mul(T).to(dtype)  # may begin a rounding beyond T
    generate(model, x, path, t_grid=grid)
    together = torch.cat(times)
    assert together.max() <= T and together.min() >= 0
    assert together.max() > T - max(T * torch.finfo(dtype).eps, 6e-8)


def test_horizon_beyond_the_type():
    path = KacPath(KacProcess(9.0, 3.0), T=1e5)
    with pytest.raises(ValueError, match=r"x_T: got dtype torch.float16; .* up to 100000"):
        generate(field, torch.zeros(2, 2).half(), path, steps=2)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_methods_agree_with_fixed_steps_on_odd_input(method):
    pytest.importorskip("torchdiffeq")
    for method_or_rk4 in (method, "rk4"):
        empty = generate(field, START[:0], PATH, method=method_or_rk4)
        assert empty.shape == (0, 2) and empty.dtype == START.dtype
    grid = [1.0, 1.0 - 1e-9, 0.5, 0.0]  # float32 cannot tell the first two apart
    points = [
        generate(field, START.float(), PATH, method=m, t_grid=grid, return_trajectory=True)
        for m in (method, "rk4")
    ]
    assert points[0].shape == points[1].shape == (4, 3, 2)
    torch.testing.assert_close(points[0][:2], points[1][:2])


def test_slow_fields_are_not_asked_beyond_the_ends():
    """The first trial step of an adaptive method is as long as the field is slow."""
    pytest.importorskip("torchdiffeq")
    times = []

    def slow(x, t):
        times.append(float(t[0]))
        return 1e-6 * x

    generate(slow, START, PATH, method="dopri5", t_min=0.25)
    assert min(times) >= 0.25 and max(times) <= 1.0


def test_assertions_of_a_model_are_its_own():
    pytest.importorskip("torchdiffeq")

    def model(x, t):
        raise AssertionError("of the model")

    with pytest.raises(AssertionError, match="of the model"):
        generate(model, START, PATH, method="dopri5")
    with pytest.raises(ValueError, match="method: 'dopri5' came to an end"):
        generate(lambda x, t: x * math.nan, START, PATH, method="dopri5")


@pytest.mark.parametrize("method", [*FIXED_STEP, "dopri5"])
@pytest.mark.parametrize(
    ("returned", "error_type", "message"),
    [
        (lambda x: x[:, :1], ValueError, r"model: returned Tensor of shape \(3, 1\)"),
        (lambda x: x[0], ValueError, r"model: returned Tensor of shape \(2,\)"),
        (lambda x: x[None], ValueError, r"model: returned .* allowed: shape \(3, 2\)"),
        (lambda x: x.sum(), ValueError, r"model: returned Tensor of shape \(\)"),
        (lambda x: x.to("meta"), ValueError, "model: returned .* on meta; allowed: on cpu"),
        (lambda x: x.to(torch.complex64), TypeError, "model: returned .*complex64"),
        (lambda x: x.long(), TypeError, "model: returned .*int64"),
        (lambda x: x > 0, TypeError, "model: returned .*bool"),
        (lambda x: x.to_sparse(), TypeError, "model: returned .*sparse"),
        (lambda x: x.numpy(), TypeError, "model: returned ndarray"),
        (lambda x: (x,), TypeError, "model: returned tuple"),
        (lambda x: None, TypeError, "model: returned None"),
        (lambda x: 1.0, TypeError, "model: returned float 1.0"),
    ],
)
def test_what_a_model_returns(method, returned, error_type, message):
    if method in ADAPTIVE:
        pytest.importorskip("torchdiffeq")
    with pytest.raises(error_type, match=message):
        generate(lambda x, t: returned(x), START, PATH, steps=2, method=method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("returned", [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_is_that_of_the_noise(dtype, returned):
    """A model may return another floating type, as under autocast; the points keep theirs."""

    def model(x, t):
        assert x.dtype == t.dtype == dtype
        return x.to(returned)

    points = generate(model, START.to(dtype), PATH, steps=2, return_trajectory=True)
    assert points.dtype == dtype and points.shape == (3, 3, 2)


def test_numpy_scalars():
    plain = generate(field, START, PATH, steps=3, t_min=0.25, return_trajectory=True)
    given = generate(
        field, START, PATH, steps=np.int64(3), t_min=np.float32(0.25), return_trajectory=np.True_
    )
    assert torch.equal(plain, given)
    for kind in (tuple, np.asarray, torch.tensor, lambda g: [np.float32(t) for t in g]):
        on_grid = generate(field, START, PATH, t_grid=kind([1.0, 0.75, 0.5, 0.25]))
        torch.testing.assert_close(on_grid, plain[-1])


# --- transport: the exact flow, given a prediction of the data -----------------------------------
PATHS = {
    "kac": PATH,
    "kac, square clock": KacPath(KacProcess(25.0, 2.0), clock="square"),
    "diffusion": GaussianPath("diffusion"),
    "flow matching": GaussianPath("flow_matching"),
    "uniform": Path(UniformProcess(2.0), signal="cosine"),
}


def prior(path, n=500, dtype=torch.float64):
    return path.sample_prior((n, 2), generator=torch.Generator().manual_seed(3), dtype=dtype)


@pytest.mark.parametrize("name", PATHS)
def test_transport_to_one_datum_is_exact_in_any_number_of_steps(name):
    """One step from T lands where many do, and where the flow of the velocity ends."""
    path, x_T = PATHS[name], prior(PATHS[name])
    datum = torch.tensor([0.3, -1.0], dtype=torch.float64)
    options = {"t_min": 0.2, "method": "transport", "prediction": "data"}
    one, many = (
        generate(lambda x, t: datum.expand_as(x), x_T, path, steps=n, **options) for n in (1, 7)
    )
    torch.testing.assert_close(one, many, rtol=1e-10, atol=1e-12)
    flow = generate(lambda x, t: path.velocity(x, t, datum.expand_as(x)), x_T, path, steps=400,
                    method="euler", t_min=0.2)  # fmt: skip
    assert (one - flow).abs().max() < 0.02
    end = generate(lambda x, t: datum.expand_as(x), x_T, path, steps=1, method="transport",
                   prediction="data")  # fmt: skip
    torch.testing.assert_close(end, datum.expand_as(end))


def test_transport_is_of_second_order():
    path = PATHS["flow matching"]  # smooth: no edge to come to
    x_T = prior(path)

    def data(x, t):
        return torch.tanh(x + 0.3 * t[:, None])

    def error(n):
        best = generate(data, x_T, path, steps=2000, t_min=0.1, method="transport",
                        prediction="data")  # fmt: skip
        got = generate(data, x_T, path, steps=n, t_min=0.1, method="transport", prediction="data")
        return (got - best).abs().max().item()

    assert math.log2(error(40) / error(80)) == pytest.approx(2.0, abs=0.25)


def test_transport_evaluates_once_a_step_and_guides_predictions():
    calls, path = [], PATHS["kac"]

    def model(x, t, labels):
        calls.append(len(x))
        return torch.where(labels[:, None] < 0, 0.2, 0.5).to(x).expand_as(x)

    x_T = prior(path, 10)
    labels = torch.arange(10) % 3
    options = {"method": "transport", "prediction": "data", "labels": labels}
    end = generate(model, x_T, path, steps=5, guidance=2.0, **options)
    assert calls == [20] * 5
    torch.testing.assert_close(end, torch.full_like(end, 3.0 * 0.5 - 2.0 * 0.2))
    points = generate(model, x_T, path, steps=3, return_trajectory=True, **options)
    assert points.shape == (4, 10, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_transport_of_any_type_with_gradients(dtype):
    scale = torch.tensor(0.5, requires_grad=True)
    x_T = prior(PATH, 8, torch.float32).to(dtype)
    end = generate(lambda x, t: scale.to(dtype) * x, x_T, PATH, steps=3, method="transport",
                   prediction="data", t_min=0.1)  # fmt: skip
    assert end.dtype == dtype
    (slope,) = torch.autograd.grad(end.float().sum(), scale)
    assert slope.isfinite() and slope != 0


def test_transport_asks_for_what_it_needs():
    with pytest.raises(ValueError, match=r"method: got 'transport' with prediction 'velocity'"):
        generate(field, START, PATH, method="transport")
    with pytest.raises(TypeError, match=r"options: got \['rtol'\]"):
        generate(field, START, PATH, method="transport", prediction="data", rtol=1.0)

    class Noise:
        def sample(self, t, shape, **options):
            return torch.zeros(shape)

        def velocity(self, x, t):
            return torch.zeros_like(x)

    with pytest.raises(TypeError, match=r"path: its noise .* has no transport"):
        generate(field, START, Path(Noise()), method="transport", prediction="data")
    for name, t, s in (("t", 1.5, 0.5), ("s", 0.5, -0.1), ("s", 0.5, 1.5)):
        with pytest.raises(ValueError, match=f"^{name}: got values from"):
            PATH.transport(START, t, s, START)
