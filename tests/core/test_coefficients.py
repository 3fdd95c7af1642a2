"""The generated files are what their script computes, and the headers' error tables are true."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIGURE = re.compile(r"^//   (\w+) +float32 (\S+) +float64 (\S+)$", re.MULTILINE)


def load_script(name: str):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stated() -> dict[str, dict[str, float]]:
    """Error tables in the comments of csrc/kac."""
    table = {}
    for header in sorted((ROOT / "csrc" / "kac").glob("*.h")):
        for name, single, double in FIGURE.findall(header.read_text()):
            table[name] = {"float32": float(single), "float64": float(double)}
    return table


def test_coefficients_are_regenerated_to_the_bit():
    script = ROOT / "scripts" / "make_coefficients.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    files = ("coefficients.h", "_coefficients.py")
    assert run.stdout.splitlines() == [f"{name}: as computed" for name in files]


FIGURES = (
    "sampler_scaled_error",
    "path_error_units",
    "velocity_ulp",
    "gradient_relative_error",
    "transport_scaled_error",
)
LAW_FIGURES = (
    "pdf_scaled_error",
    "logpdf_scaled_error",
    "cdf_error",
    "tail_scaled_error",
    "ppf_scaled_error",
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("figure", FIGURES)
def test_error_tables_are_measured(figure: str, dtype: str):
    kac = pytest.importorskip("kacflow_core._native", reason="the compiled core was not built")
    assert kac is not None
    measure = load_script("measure_accuracy")
    function = {
        "sampler_scaled_error": measure.sampler_error,
        "path_error_units": measure.path_error,
        "velocity_ulp": measure.velocity_error,
        "transport_scaled_error": measure.transport_error,
        "gradient_relative_error": measure.gradient_error,
    }[figure]
    points = {"gradient_relative_error": 1500, "transport_scaled_error": 800}.get(figure, 8000)
    error = function(dtype, points, "native")
    limit = stated()[figure][dtype]
    assert limit / 8 <= error <= limit  # the figure is neither exceeded nor far too careful


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_tables_of_splines_are_measured(dtype: str):
    pytest.importorskip("kacflow_core._native", reason="the compiled core was not built")
    errors = load_script("measure_accuracy").spline_errors(dtype, 1000, "native")
    assert len(errors) == 4
    for figure, error in errors.items():
        limit = stated()[figure][dtype]
        assert limit / 8 <= error <= limit, figure


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_tables_of_the_law_are_measured(dtype: str):
    kac = pytest.importorskip("kacflow_core._native", reason="the compiled core was not built")
    assert kac is not None
    errors = load_script("measure_accuracy").law_errors(dtype, 1000, "native")
    assert tuple(sorted(errors)) == tuple(sorted(LAW_FIGURES))
    for figure, error in errors.items():
        limit = stated()[figure][dtype]
        assert limit / 8 <= error <= limit, figure
