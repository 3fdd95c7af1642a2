"""Write the coefficients of every polynomial and rational that the kernels evaluate.

They go to csrc/kac/coefficients.h, as functions, and to kacflow_core/backends/_coefficients.py, as
tuples of the same numbers for the backends written in Python.

Run ``python scripts/make_coefficients.py`` to rewrite both files, ``--check`` to compare them with
what this script computes (exit code 1 if one differs).  Needs mpmath only.

Method.  Each function is fitted in 60-digit arithmetic by linear least squares on Chebyshev nodes
with Lawson's reweighting, which tends to the minimax fit in the relative error given by the
weight.  Rational fits use the Sanathanan-Koerner iteration (the denominator of the last round
divides the weights).  The printed maximum is taken over a finer grid, after the coefficients were
rounded to the working type.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp

mp.mp.dps = 60
ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "kac" / "coefficients.h"
MODULE = ROOT / "kacflow_core" / "backends" / "_coefficients.py"
Real = mp.mpf
MANTISSA_BITS = {"float": 24, "double": 53}


# --- the functions to approximate -----------------------------------------------------------------
def _large_z_series(n: int) -> list[Real]:
    """c[k] of h(z) = sum_k c[k] z^-k, from the Riccati equation z q' = z^2 + 2q - q^2."""
    c = {-1: mp.mpf(1), 0: mp.mpf(1) / 2}
    for k in range(1, n):
        m = k - 1
        pairs = sum(c[i] * c[m - i] for i in range(-1, m + 2) if i in c and (m - i) in c)
        c[k] = ((m + 2) * c[m] - pairs) / 2
    return [mp.mpf(0)] + [c[k] for k in range(1, n)]


_SERIES = _large_z_series(30)


def bessel_remainder(z: Real) -> Real:
    """h(z) = z I0(z)/I1(z) - z - 1/2, with h(0) = 3/2 and h(z) -> 3/(8z)."""
    if z == 0:
        return mp.mpf(3) / 2
    if z < 500:
        return z * mp.besseli(0, z) / mp.besseli(1, z) - z - mp.mpf(1) / 2
    return mp.fsum(c / z**k for k, c in enumerate(_SERIES) if k)


def bessel_series(y: Real) -> Real:
    """(q(z) - 2) / z^2 with y = z^2, and 1/4 at 0."""
    if y < mp.mpf(10) ** -20:
        return mp.mpf(1) / 4 - y / 96
    z = mp.sqrt(y)
    return (z * mp.besseli(0, z) / mp.besseli(1, z) - 2) / y


def log1p_tail(r: Real) -> Real:
    """(ln(1 + r) - r) / r^2, with -1/2 at 0."""
    if abs(r) < mp.mpf(10) ** -12:
        return -mp.mpf(1) / 2 + r / 3 - r * r / 4
    return (mp.log1p(r) - r) / r**2


def log1p_ratio(p: Real) -> Real:
    """ln(1 + p) / p, with 1 at 0."""
    return mp.log1p(p) / p if p else mp.mpf(1)


def expm1_tail(r: Real) -> Real:
    """(e^r - 1 - r) / r^2, with 1/2 at 0."""
    if abs(r) < mp.mpf(10) ** -12:
        return mp.mpf(1) / 2 + r / 6 + r * r / 24
    return (mp.expm1(r) - r) / r**2


def decay_ratio(w: Real) -> Real:
    """(1 - e^-w) / w, with 1 at 0."""
    return -mp.expm1(-w) / w if w else mp.mpf(1)


def sin2_ratio(t: Real) -> Real:
    """sin^2(pi v / 2) / t with t = v^2, and pi^2/4 at 0."""
    if t == 0:
        return mp.pi**2 / 4
    return mp.sin(mp.pi * mp.sqrt(t) / 2) ** 2 / t


# --- fitting --------------------------------------------------------------------------------------
def _chebyshev(lo: Real, hi: Real, m: int) -> list[Real]:
    return [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * m)) for i in range(m)]


def _reweight(lawson: list[Real], errors: list[Real]) -> list[Real]:
    mean = mp.fsum(w * e for w, e in zip(lawson, errors, strict=True)) / mp.fsum(lawson)
    new = [w * (e / mean + mp.mpf("1e-3")) for w, e in zip(lawson, errors, strict=True)]
    total = mp.fsum(new) / len(new)
    return [w / total for w in new]


def fit_polynomial(f: Callable, lo: Real, hi: Real, degree: int, weight: Callable) -> list[Real]:
    """Coefficients (constant term first) that minimise max |weight (p - f)| on [lo, hi]."""
    xs = _chebyshev(lo, hi, 6 * degree + 20)
    scale = max(abs(lo), abs(hi))
    fs, ws = [f(x) for x in xs], [weight(x) for x in xs]
    lawson = [mp.mpf(1)] * len(xs)
    best, best_error = [], mp.inf
    for _ in range(12):
        a, b = mp.matrix(len(xs), degree + 1), mp.matrix(len(xs), 1)
        for i, x in enumerate(xs):
            s = ws[i] * mp.sqrt(lawson[i])
            for k in range(degree + 1):
                a[i, k] = s * (x / scale) ** k
            b[i] = s * fs[i]
        c = [v / scale**k for k, v in enumerate(mp.lu_solve(a, b))]
        errors = [abs(w * (mp.polyval(c[::-1], x) - v)) for x, v, w in zip(xs, fs, ws, strict=True)]
        if max(errors) < best_error:
            best, best_error = c, max(errors)
        lawson = _reweight(lawson, errors)
    return best


def fit_bessel_remainder(n: int, z_max: Real) -> tuple[list[Real], list[Real]]:
    """(P, Q) of degrees n - 1, n, Q(0) = 1, P/Q close to h relative to z + q(z) on [0, z_max].

    The velocity divides by tau + q(z) and z <= tau, so z + q is the scale an error is seen on.
    """
    k0 = mp.mpf(3)
    top = z_max / (z_max + k0)
    ts = _chebyshev(mp.mpf(0), top, 8 * n + 20)
    zs = [k0 * t / (1 - t) for t in ts]
    hs = [bessel_remainder(z) for z in zs]
    ws = [1 / (z + mp.mpf(1) / 2 + h) for z, h in zip(zs, hs, strict=True)]
    damp = [(1 + z / k0) ** n for z in zs]
    lawson = [mp.mpf(1)] * len(zs)
    last = damp[:]
    best: tuple[list[Real], list[Real]] = ([], [])
    best_error = mp.inf
    for round_ in range(14):
        a, b = mp.matrix(len(zs), 2 * n), mp.matrix(len(zs), 1)
        for i, z in enumerate(zs):
            s = ws[i] * mp.sqrt(lawson[i]) / last[i]
            for k in range(n):
                a[i, k] = s * (z / k0) ** k
                a[i, n + k] = -s * hs[i] * (z / k0) ** (k + 1)
            b[i] = s * hs[i]
        x = mp.lu_solve(a, b)
        p, q = [x[k] for k in range(n)], [mp.mpf(1)] + [x[n + k] for k in range(n)]
        last = [mp.polyval(q[::-1], z / k0) for z in zs]
        errors = [
            abs(w * (mp.polyval(p[::-1], z / k0) / d - h))
            for z, h, w, d in zip(zs, hs, ws, last, strict=True)
        ]
        if max(errors) < best_error:
            best_error = max(errors)
            best = ([v / k0**k for k, v in enumerate(p)], [v / k0**k for k, v in enumerate(q)])
        if round_ >= 3:
            lawson = _reweight(lawson, errors)
    return best


# --- rounding and writing -------------------------------------------------------------------------
def round_to(x: Real, real: str) -> tuple[Real, str]:
    """x rounded to nearest in the type, and its exact hexadecimal form."""
    mantissa, exponent = mp.frexp(x)
    scaled = int(mp.nint(mantissa * 2 ** MANTISSA_BITS[real]))
    value = mp.mpf(scaled) * mp.mpf(2) ** (int(exponent) - MANTISSA_BITS[real])
    literal = float(value).hex().replace("0000000p", "p").rstrip()
    sign, digits = ("-", literal[1:]) if literal[0] == "-" else ("", literal)
    head, power = digits.split("p")
    head = head.rstrip("0").rstrip(".")
    return value, f"{sign}{head}p{power}"


def _horner(c: list[str], x: str) -> str:
    text = c[-1]
    for value in reversed(c[:-1]):
        text = f"fma({text}, {x}, {value})"
    return text


class Fit(NamedTuple):
    """A fitted polynomial."""

    name: str
    real: str  #: "float" or "double"
    x: str  #: name of the variable
    doc: str
    coefficients: list[str]  #: constant term first, rounded to ``real``, hexadecimal


def fit_of(name: str, real: str, x: str, c: list[Real], doc: str) -> Fit:
    return Fit(name, real, x, doc, [round_to(v, real)[1] for v in c])


def function_text(fit: Fit) -> str:
    """C++ text: an even/odd split of Horner's rule, which halves the chain of dependent fmas.

    Not for the one function that only GPUs call, where other threads fill the chain's gaps.
    """
    real, x = fit.real, fit.x
    literals = [c + ("f" if real == "float" else "") for c in fit.coefficients]
    lines = [f"/// {line}" for line in fit.doc.splitlines()]
    lines.append(f"KAC_FN {real} {fit.name}({real} {x}) {{")
    if len(literals) > 5 and fit.name != "log1p_ratio":
        lines.append(f"  const {real} s = {x} * {x};")
        for part, values in (("even", literals[0::2]), ("odd", literals[1::2])):
            lines.append(f"  {real} {part} = {values[-1]};")
            lines += [f"  {part} = fma({part}, s, {v});" for v in reversed(values[:-1])]
        lines.append(f"  return fma(odd, {x}, even);")
    else:
        lines.append(f"  return {_horner(literals, x)};")
    return "\n".join([*lines, "}"])


def entry_text(fit: Fit) -> str:
    """Python text: an entry of a dictionary of tuples."""
    numbers = textwrap.fill(" ".join(fit.coefficients), 92, break_on_hyphens=False)
    numbers = textwrap.indent(numbers, " " * 8)
    return f'    "{fit.name}": _exact("""\n{numbers}\n    """),'


def _worst(f: Callable, c: list[Real], lo: Real, hi: Real, weight: Callable) -> Real:
    xs = [lo + (hi - lo) * i / 400 for i in range(401)]
    return max(abs(weight(x) * (mp.polyval(c[::-1], x) - f(x))) for x in xs)


def _rounded(c: list[Real], real: str) -> list[Real]:
    return [round_to(v, real)[0] for v in c]


def polynomial(
    name: str,
    real: str,
    x: str,
    f: Callable,
    lo: Real,
    hi: Real,
    degree: int,
    weight: Callable,
    doc: str,
) -> Fit:
    c = _rounded(fit_polynomial(f, lo, hi, degree, weight), real)
    worst = _worst(f, c, lo, hi, weight) * 2 ** MANTISSA_BITS[real]
    unit = f"2^-{MANTISSA_BITS[real]}"
    note = f"{doc}\nDegree {degree}; largest relative error {mp.nstr(worst, 2)} x {unit}."
    return fit_of(name, real, x, c, note)


def rational(real: str, n: int, z_max: Real) -> list[Fit]:
    p, q = (_rounded(c, real) for c in fit_bessel_remainder(n, z_max))
    k0 = mp.mpf(3)
    zs = [k0 * t / (1 - t) for t in (z_max / (z_max + k0) * i / 600 for i in range(601))]
    worst = max(
        abs(mp.polyval(p[::-1], z) / mp.polyval(q[::-1], z) - h) / (z + mp.mpf(1) / 2 + h)
        for z, h in ((z, bessel_remainder(z)) for z in zs)
    )
    bits = MANTISSA_BITS[real]
    doc = (
        f"of h(z) = q(z) - z - 1/2 on [0, {mp.nstr(z_max, 3)}], degrees {n - 1}/{n};\n"
        f"largest error relative to z + q(z): {mp.nstr(worst * 2**bits, 2)} x 2^-{bits}."
    )
    return [
        fit_of("bessel_remainder_num", real, "z", p, f"Numerator {doc}"),
        fit_of("bessel_remainder_den", real, "z", q, f"Denominator {doc}"),
    ]


def fits() -> list[Fit]:
    third, quarter = mp.mpf(1) / 3, mp.mpf(1) / 4
    half_ln2 = mp.log(2) / 2 * mp.mpf("1.001")
    found = []
    for real, degree in (("float", 8), ("double", 21)):
        found.append(
            polynomial(
                "log1p_tail", real, "r", log1p_tail, -third, third, degree,
                lambda r: r**2 / mp.log1p(r) if r else mp.mpf(0),
                "(ln(1 + r) - r) / r^2 on [-1/3, 1/3], error relative to ln(1 + r).",
            )
        )  # fmt: skip
    found.append(
        polynomial(
            "log1p_ratio", "float", "p", log1p_ratio, mp.mpf(0), quarter, 5,
            lambda p: 1 / log1p_ratio(p),
            "ln(1 + p) / p on [0, 1/4].",
        )
    )  # fmt: skip
    for real, degree in (("float", 5), ("double", 10)):
        found.append(
            polynomial(
                "sin2_ratio", real, "t", sin2_ratio, mp.mpf(0), quarter, degree,
                lambda t: 1 / sin2_ratio(t),
                "sin^2(pi v / 2) / t with t = v^2 on [0, 1/4].",
            )
        )  # fmt: skip
    for real, degree in (("float", 4), ("double", 11)):
        found.append(
            polynomial(
                "expm1_tail", real, "r", expm1_tail, -half_ln2, half_ln2, degree,
                lambda r: r**2 / mp.expm1(r) if r else mp.mpf(0),
                "(e^r - 1 - r) / r^2 on |r| <= ln(2)/2, error relative to e^r - 1.",
            )
        )  # fmt: skip
    for real, degree in (("float", 7), ("double", 14)):
        found.append(
            polynomial(
                "decay_ratio", real, "w", decay_ratio, mp.mpf(0), mp.mpf(2), degree,
                lambda w: 1 / decay_ratio(w),
                "(1 - e^-w) / w on [0, 2].",
            )
        )  # fmt: skip
    for real, degree in (("float", 6), ("double", 14)):
        found.append(
            polynomial(
                "bessel_series", real, "y", bessel_series, mp.mpf(0), mp.mpf(4), degree,
                lambda y: 1 / bessel_series(y),
                "(q(z) - 2) / z^2 with y = z^2 on [0, 4].",
            )
        )  # fmt: skip
    found += rational("float", 7, mp.mpf(8192))
    found += rational("double", 16, mp.mpf(10) ** 8)
    return found


def header_text(found: list[Fit]) -> str:
    banner = (
        "// Generated by scripts/make_coefficients.py; do not edit (its --check compares).\n"
        "// Literals are hexadecimal, so every compiler reads the same bits.\n"
        "// clang-format off\n"
        "#ifndef KAC_COEFFICIENTS_H_\n#define KAC_COEFFICIENTS_H_\n\n"
        '#include "config.h"\n\nnamespace kac {\ninline namespace KAC_LEVEL {\n\n'
    )
    tail = "\n\n}  // namespace KAC_LEVEL\n}  // namespace kac\n\n#endif  // KAC_COEFFICIENTS_H_\n"
    return banner + "\n\n".join(map(function_text, found)) + tail


def module_text(found: list[Fit]) -> str:
    parts = [
        '"""The coefficients of csrc/kac/coefficients.h, where formulas and errors stand, by '
        "type;\nconstant term first.\n\n"
        'Generated by scripts/make_coefficients.py; do not edit (its --check compares).\n"""\n'
        "# fmt: off\n\n"
        "from __future__ import annotations\n\n\n"
        "def _exact(text: str) -> tuple[float, ...]:\n"
        "    return tuple(map(float.fromhex, text.split()))\n\n"
    ]
    for real, name in (("float", "FLOAT32"), ("double", "FLOAT64")):
        entries = "\n".join(entry_text(fit) for fit in found if fit.real == real)
        parts.append(f"\n{name} = {{\n{entries}\n}}\n")
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files, write nothing")
    check = parser.parse_args().check
    found = fits()
    differ = False
    for path, text in ((HEADER, header_text(found)), (MODULE, module_text(found))):
        if not check:
            path.write_text(text)
            print(f"wrote {path}")
            continue
        same = path.exists() and path.read_text() == text
        print(f"{path.name}: {'as computed' if same else 'differs from what is computed'}")
        differ |= not same
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
