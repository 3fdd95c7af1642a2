"""The one table of calls of the operators, which the tests of all of them walk."""

from __future__ import annotations

from typing import Any

import torch

from kacflow_core._dispatch import POINT_FUNCTIONS


def listed() -> set[str]:
    """What torch's dispatcher has under ``kacflow::``."""
    names = torch._C._dispatch_get_all_op_names()
    return {
        name.removeprefix("kacflow::").partition(".")[0]
        for name in names
        if name.startswith("kacflow::")
    }


def operator_calls(
    dtype: torch.dtype = torch.float32, rows: int = 6, device: str = "cpu"
) -> dict[str, dict[str, Any]]:
    """The arguments of a call of every operator, in their order, its data of ``dtype``."""
    working = torch.float64 if dtype == torch.float64 else torch.float32
    generator = torch.Generator().manual_seed(6)
    x = 0.3 * torch.randn(rows, 3, generator=generator).to(device, dtype)
    t = 0.5 + 0.5 * torch.rand(rows, generator=generator).to(device, working)
    a, c, one = (torch.tensor(v, dtype=working, device=device) for v in (9.0, 3.0, 1.0))
    process, times = {"a": a, "c": c}, {"t": t[:, None]}
    noise = {"seed": torch.tensor(5, device=device), "offset": 7}
    drawn = {**process, **noise, "shape": (rows, 3), "dtype": working}
    values = {"signal": 1 - t, "dsignal": -one, "clock": t, "dclock": one}
    table = torch.arange(1.0, 5.0, dtype=working, device=device).expand(3, 4)
    knots = {name: table.contiguous() for name in ("edges", "values", "slopes")}
    places = x.reshape(rows, 3, 1)
    derived = "_velocity_hessian", "_draw_velocity", "_draw_acceleration"
    of_points = *(name for name in POINT_FUNCTIONS if name != "pdf"), *derived
    return {
        "sample": {"t": t, **drawn},
        "sample_pair": {"x_0": x, **process, **values, **noise},
        "sample_pair_scheduled": {
            "x_0": x, "t": t, **process, **noise, "signal": 5, "clock": 2, "horizon": 2.0
        },
        "sample_pair_partly": {
            "x_0": x, "t": t, **process, "value": 1 - t, "slope": -one, **noise,
            "signal": 0, "clock": 2, "horizon": 2.0,
        },
        "sample_path": {"times": t.sort().values, **drawn},
        **{name: {"x": x, **times, **process} for name in of_points},
        "ppf": {"q": x.sigmoid(), **times, **process},
        "transport": {"x": x, **times, "s": 0.7 * t[:, None], **process},
        "_spline": {"x": places, **knots},
        "_spline_inverse": {"y": places, **knots},
        "_spline_grad": {"x": places, "grad_y": places, "grad_slope": places, **knots},
    }  # fmt: skip


#: The law and splines take float32 and float64 alone; so do the derivatives asked for in these.
NOT_IN_16_BITS = {"logpdf", "cdf", "ppf", "transport", "_draw_acceleration", "_spline",
                  "_spline_inverse", "_spline_grad"}  # fmt: skip


def of_the_position(name: str) -> bool:
    """Whether an operator is a public function of the position, whose arguments broadcast."""
    return not name.startswith(("_", "sample"))
