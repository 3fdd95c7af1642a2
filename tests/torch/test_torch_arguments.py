"""Strange values for every argument of the torch layer: processes, paths and operators."""

from __future__ import annotations

import pytest
import torch
from operator_calls import listed, of_the_position, operator_calls
from strange import Case, complaints

from kacflow import (
    BrownianProcess,
    EmpiricalField,
    GaussianPath,
    KacPath,
    KacProcess,
    Path,
    QuantileProcess,
    StraightProcess,
    UniformProcess,
    log_likelihood,
)
from kacflow.noise import ScaledProcess

X, T = torch.full((2, 3), 0.25), torch.tensor([0.5, 0.75])
ZERO = torch.zeros(2, 3)
GRID = torch.tensor([0.25, 0.5])
A, C = torch.tensor(9.0), torch.tensor(3.0)
FROM = {"generator": None, "first": 0}
DRAW = {**FROM, "dtype": torch.float32, "device": "cpu"}
SCHEDULES = {"signal": "linear", "clock": "linear"}
PROCESSES = {
    "KacProcess": lambda: KacProcess(9.0, 3.0), "BrownianProcess": BrownianProcess,
    "StraightProcess": StraightProcess, "UniformProcess": UniformProcess,
    "QuantileProcess": lambda: QuantileProcess(bins=4),
}  # fmt: skip
#: What a class of ``ScaledProcess`` says of itself: called by its methods alone.
HOOKS = {name for name in dir(ScaledProcess) if name == "scales" or name.startswith("base_")}
PATHS = {
    "KacPath": lambda: KacPath(KacProcess(9.0, 3.0)),
    "KacPath of tensors": lambda: KacPath(KacProcess(A, C), signal="cosine", clock="square"),
    "Path": lambda: Path(BrownianProcess()),
    "GaussianPath": GaussianPath,
    "flow matching": lambda: GaussianPath("flow_matching"),
}


def method(make, name):
    """A method of an object that is made anew for every call."""
    return lambda **arguments: getattr(make(), name)(**arguments)


def drawn(make):
    """The point and the velocity of a draw."""
    return lambda **arguments: make().sample(**arguments)[2:]


def of_processes():
    for name, make in PROCESSES.items():
        shapes = ("t", "shape")
        draw = {"t": T, "shape": (2, 3), **DRAW}
        yield Case(f"{name}.sample", method(make, "sample"), draw, shapes)
        yield Case(f"{name}.pair", method(make, "pair"), draw, shapes)
        yield Case(f"{name}.velocity", method(make, "velocity"), {"x": X, "t": 0.5}, "xt", ("x",))
        yield Case(f"{name}.cdf", method(make, "cdf"), {"x": X, "t": 0.5}, "xt", ("x",))
        yield Case(
            f"{name}.icdf",  # infinite at 0 and 1 where the law has no bounds
            lambda make=make, **given: make().icdf(**given).nan_to_num(neginf=0.0, posinf=0.0),
            {"q": X, "t": 0.5}, "qt",
        )  # fmt: skip
    make = PROCESSES["KacProcess"]
    yield Case(
        "KacProcess.sample_path", method(make, "sample_path"),
        {"times": GRID, "shape": (2,), **DRAW}, ("times", "shape"),
    )  # fmt: skip
    at = {"x": X, "t": 0.5}
    yield Case("KacProcess.divergence", method(make, "divergence"), at, "xt", ("x",))
    for name, noise in PROCESSES.items():
        yield Case(
            f"{name}.transport", method(noise, "transport"), {"x": X, "t": 0.5, "s": 0.3}, "xts",
            ("x",),
        )  # fmt: skip
        yield Case(
            f"{name}.log_prob",
            lambda noise=noise, **given: noise().log_prob(**given).nan_to_num(neginf=0.0),
            {"x": X, "t": 0.5}, "xt", ("x",),
        )  # fmt: skip
        yield Case(
            f"{name}.variance",  # beyond the largest number for the largest times
            lambda noise=noise, **given: noise().variance(**given).nan_to_num(posinf=0.0),
            {"t": T}, "t",
        )  # fmt: skip
    yield Case("KacProcess.atom_mass", method(make, "atom_mass"), {"t": T}, "t")


def of_paths():
    for name, make in PATHS.items():
        yield Case(f"{name}.sample", drawn(make), {"x_0": X, "t": T, **FROM}, ("x_0",), ("x_0",))
        yield Case(
            f"{name}.sample_prior", method(make, "sample_prior"),
            {"shape": (2, 3), "x_0": X, **DRAW}, ("shape",), ("x_0",),
        )  # fmt: skip
        at = {"x_t": X, "t": T, "x_0": ZERO}
        yield Case(f"{name}.velocity", method(make, "velocity"), at, data=("x_t", "x_0"))
        yield Case(
            f"{name}.transport", method(make, "transport"), {**at, "s": T}, data=("x_t", "x_0")
        )
    make = PATHS["KacPath"]
    yield Case("KacPath.divergence", method(make, "divergence"), at, data=("x_t", "x_0"))


def of_densities():
    """The exact field of a data set, and likelihoods under it."""
    path = GaussianPath("flow_matching")
    field = EmpiricalField(ZERO, path)
    yield Case("EmpiricalField()", EmpiricalField, {"data": X, "path": path, "chunk": 64},
               ("data",))  # fmt: skip
    yield Case("EmpiricalField.__call__", field, {"x": X, "t": 0.5}, "x", ("x",))
    steps = {"steps": 2, "t_min": 0.1, "probes": 1}
    given = {"model": lambda x, t: -x, "x_0": X, "path": path, **steps}
    yield Case("log_likelihood", log_likelihood, given, ("x_0",), ("x_0",))


CONSTRUCTORS = [
    Case("KacProcess()", KacProcess, {"a": 9.0, "c": 3.0}),
    Case("BrownianProcess()", BrownianProcess, {"sigma": 1.0}),
    Case("UniformProcess()", UniformProcess, {"b": 1.0}),
    Case(
        "QuantileProcess()",
        lambda **given: QuantileProcess(**given).heights.sum(),
        {
            "shape": (2, 3),
            "bins": 4,
            "bound": 5.0,
            "tails": "linear",
            "at": 1.0,
        },
    ),
    Case("KacPath()", KacPath, {"process": KacProcess(9.0, 3.0), "T": 1.0, **SCHEDULES}),
    Case("Path()", Path, {"noise": BrownianProcess(), "T": 1.0, **SCHEDULES}),
    Case(
        "GaussianPath()", GaussianPath, {"kind": "diffusion", "T": 1.0, "sigma": 1.0, **SCHEDULES}
    ),
]


def of_operators():
    for name, good in operator_calls(rows=2).items():
        reshapes = tuple(good) if of_the_position(name) else ("x_0", "times", "shape")
        data = ("x", "x_0")
        if name.startswith("_"):  # their values are checked before
            data = tuple(good)
            reshapes = () if "spline" in name else data
        call = logpdf if name == "logpdf" else getattr(torch.ops.kacflow, name)
        yield Case(f"ops.{name}", call, good, reshapes, data, operator=True)


def logpdf(**given):
    return torch.ops.kacflow.logpdf(**given).nan_to_num(neginf=0.0)


def walk(cases):
    for case in cases:
        for argument in case.good:
            yield pytest.param(case, argument, id=f"{case.name}: {argument}")


ALL = [*CONSTRUCTORS, *of_processes(), *of_paths(), *of_densities(), *of_operators()]


@pytest.mark.parametrize(("case", "argument"), list(walk(ALL)))
def test_strange_values(case, argument):
    assert complaints(case, argument) == []


def test_the_walk_is_complete():
    walked = {case.name for case in ALL}
    assert {f"ops.{operator}" for operator in listed()} <= walked
    makers = {**PROCESSES, **PATHS}
    for name in ("KacProcess", "BrownianProcess", "UniformProcess", "KacPath", "Path",
                 "GaussianPath"):  # fmt: skip
        for attribute in set(dir(makers[name]())) - HOOKS:
            if not attribute.startswith("_") and callable(getattr(makers[name](), attribute)):
                assert f"{name}.{attribute}" in walked
