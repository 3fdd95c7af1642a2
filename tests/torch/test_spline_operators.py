"""The operators of the splines against their composition: derivatives of both kinds, compilation,
batches, and a backend that has no such kernels.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from kacflow import QuantileProcess
from kacflow.ops import _spline_formulas as formulas
from kacflow_core import _dispatch

OPS = torch.ops.kacflow
DOUBLE = torch.float64


def knots(splines: int, bins: int, dtype: torch.dtype = DOUBLE, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3, splines, bins + 1, dtype=DOUBLE, generator=generator)
    width, height, slope = (0.7 * drawn).exp()
    return [v.to(dtype) for v in (width.cumsum(1) - 3.0, height.cumsum(1) - 3.0, slope)]


def arguments(
    shape: tuple[int, int, int] = (4, 3, 2), bins: int = 5, dtype: torch.dtype = DOUBLE,
    grad: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Data, within the knots and beyond on both sides, and knots."""
    generator = torch.Generator().manual_seed(1)
    x = 12.0 * torch.rand(shape, dtype=DOUBLE, generator=generator) - 5.0
    return tuple(v.to(dtype).requires_grad_(grad) for v in (x, *knots(shape[1], bins)))


PAIRS = [(OPS._spline, formulas.spline), (OPS._spline_inverse, formulas.spline_inverse)]
IDS = ["spline", "inverse"]


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(4, 3, 2), (1, 1, 500), (700, 1, 1), (90, 40, 1), (0, 3, 2)])
@pytest.mark.parametrize(("op", "formula"), PAIRS, ids=IDS)
def test_values_and_gradients_are_those_of_the_composition(op, formula, shape, dtype):
    given = arguments(shape, dtype=dtype, grad=True)
    exact = tuple(v.detach().double().requires_grad_() for v in given)
    got, want = op(*given), formula(*exact)
    several = isinstance(got, tuple)
    got, want = (got, want) if several else ((got,), (want,))
    weights = [torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(i))
               for i in range(len(got))]  # fmt: skip
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == DOUBLE else {"rtol": 1e-4, "atol": 2e-4}
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.double(), w, **tolerance)
    found = torch.autograd.grad(got, given, [w.to(dtype) for w in weights])
    wanted = torch.autograd.grad(want, exact, weights)
    for g, w in zip(found, wanted, strict=True):
        assert g.dtype == dtype
        scale = float(w.abs().max()) if shape[0] else 1.0
        torch.testing.assert_close(g.double() / scale, w / scale, **tolerance)


@pytest.mark.parametrize(("op", "formula"), PAIRS, ids=IDS)
def test_derivatives(op, formula):
    """Reverse and forward mode, batched and not, and one derivative more."""
    given = arguments((2, 2, 2), 3, grad=True)
    assert torch.autograd.gradcheck(
        op, given, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(op, given)


def test_a_result_without_a_gradient_takes_no_part():
    given = arguments(grad=True)
    for which in (0, 1):
        got = torch.autograd.grad(OPS._spline(*given)[which].sum(), given)
        want = torch.autograd.grad(formulas.spline(*given)[which].sum(), given)
        torch.testing.assert_close(got, want)
    x, *tables = given
    (alone,) = torch.autograd.grad(OPS._spline(x.detach(), *tables)[0].sum(), tables[1])
    torch.testing.assert_close(
        alone, torch.autograd.grad(OPS._spline(*given)[0].sum(), given[2])[0]
    )


def test_gradients_have_no_derivatives_of_their_own():
    x, *tables = arguments(grad=True)
    found = OPS._spline_grad(x, torch.ones_like(x), torch.ones_like(x), *tables)
    with pytest.raises(RuntimeError, match="_spline_grad has no derivatives"):
        found[1].sum().backward()


def test_gradients_do_not_depend_on_threads():
    x, *tables = arguments((20_000, 1, 1), 8, torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(OPS._spline_grad(x, x, x, *tables))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_opcheck():
    given = arguments(grad=True)
    opcheck(OPS._spline, given)
    opcheck(OPS._spline_inverse, given)
    x, *tables = arguments()
    opcheck(OPS._spline_grad, (x, x, x, *tables))
    opcheck(OPS._spline, arguments((5, 1, 3), dtype=torch.float32, grad=True))


@pytest.mark.parametrize("in_dims", [(0, None, None, None), (1, 0, 0, 0), (None, 1, 0, None)])
@pytest.mark.parametrize(("op", "formula"), PAIRS, ids=IDS)
def test_batches(op, formula, in_dims):
    """Every entry has the splines and data of a loop."""
    x, *tables = arguments((4, 3, 2))
    batch = [
        value if dim is None else torch.stack([value, 0.9 * value, 1.1 * value], dim)
        for value, dim in zip((x, *tables), in_dims, strict=True)
    ]
    got, want = (torch.vmap(f, in_dims)(*batch) for f in (op, formula))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_to_one_graph(backend):
    process = QuantileProcess((3,), bins=6)
    rows = torch.randn(5, 3, 1)

    def loss(rows: Tensor) -> Tensor:
        y, slope = OPS._spline(rows, *process._knots(torch.float32))
        return (y * y).mean() - slope.log().mean()

    found = []
    for call in (loss, torch.compile(loss, fullgraph=True, backend=backend)):
        process.zero_grad()
        value = call(rows)
        value.backward()
        found.append([value.detach(), *(v.grad.clone() for v in process.parameters())])
    torch.testing.assert_close(found[1], found[0])


def test_a_backend_without_splines_gets_the_composition(monkeypatch):
    given = arguments(grad=True)
    want = torch.autograd.grad(formulas.spline(*given)[0].sum(), given)
    monkeypatch.setattr(_dispatch, "_default", SimpleNamespace(name="mine"))
    for op, formula in PAIRS:
        torch.testing.assert_close(op(*given), formula(*given))
    torch.testing.assert_close(torch.autograd.grad(OPS._spline(*given)[0].sum(), given), want)
    compiled = torch.compile(lambda *v: OPS._spline(*v)[0].sum(), backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(*given), given), want)
    x, *tables = (v.detach() for v in given)
    with pytest.raises(RuntimeError, match="backend 'mine' has no method spline_grad"):
        OPS._spline_grad(x, x, x, *tables)


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (2, 1, 4), (2, 3, 4), (2, 1, 1)])
def test_rows_of_splines_are_views_where_their_axes_lie_together(shape):
    process = QuantileProcess(shape, bins=3)
    data = torch.arange(5 * 2 * 3 * 4).reshape(5, 2, 3, 4)
    if shape == (3,):
        data = data.transpose(2, 3)
    rows, back = process._rows(data)
    assert rows.shape[1] == process.middle.numel()
    assert torch.equal(back(rows), data)
    own = torch.arange(process.middle.numel()).reshape(shape or ()).expand(data.shape)
    for c in range(rows.shape[1]):
        assert set(rows[:, c].flatten().tolist()) == set(data[own == c].tolist())
    if shape not in ((2, 1, 4), (3,)):
        assert rows.data_ptr() == data.data_ptr()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {0: torch.zeros(3, 2, dtype=DOUBLE)},
            ValueError,
            r"x: got shape \(3, 2\); allowed: \(n0, C, inner\)",
        ),
        ({0: torch.zeros(4, 3, 2)}, TypeError, "edges: got dtype torch.float64"),
        ({0: torch.zeros(4, 3, 2).half()}, TypeError, "x: got dtype torch.float16"),
        ({1: knots(2, 5)[0]}, ValueError, r"edges: got shape \(2, 6\); allowed: \(3, bins \+ 1\)"),
        ({2: knots(3, 4)[1]}, ValueError, r"values: got shape \(3, 5\); allowed: \(3, 6\)"),
        ({3: torch.zeros(3, 6, dtype=DOUBLE).to_sparse()}, TypeError, "slopes: got layout"),
    ],
)
def test_bad_arguments(changed, error, message):
    given = list(arguments())
    for i, value in changed.items():
        given[i] = value
    with pytest.raises(error, match=message):
        OPS._spline(*given)
