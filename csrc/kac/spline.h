// Monotone rational-quadratic splines with linear tails, their derivatives and their inverse.
//
// On the bin [x_0, x_1] with ordinates y_0, y_1 and slopes d, e at its ends, w = x_1 - x_0,
// h = y_1 - y_0, s = h/w, u = (x - x_0)/w and v = (x_1 - x)/w = 1 - u,
//
//   y  = y_0 + h u (s u + d v)/D,   D = s (u^2 + v^2) + (d + e) u v
//   y' = s^2 M/D^2,                 M = e u^2 + 2 s u v + d v^2
//
// (Gregory and Delbourgo, Piecewise rational quadratic interpolation to monotonic data, IMA J.
// Numer. Anal. 2 (1982); as bijections Durkan, Bekasov, Murray, Papamakarios, arXiv 1906.04032, eq.
// 4 and 5, with 1 - 2 u v = u^2 + v^2.)  All terms are positive, and u and v are quotients of their
// own, so nothing cancels beside either end.  A knot belongs to the bin on its right, the last one
// to that on its left.  Beyond the first and the last knot y goes on with the slope there.
//
// Inverse: with p = (y - y_0)/h, q = (y_1 - y)/h and m = (d q - e p)/s,
// u = 2 p/(k + 2 p), k = m + sqrt(m^2 + 4 p q); for m < 0, where that cancels, k = 4 p q/(sqrt -
// m).
//
// Domain: knots x_k and y_k that increase, slopes > 0, all finite.  x = +-infinity gives y =
// +-infinity and the slope of the end; NaN gives NaN.
//
// Measured: largest errors against 40 digits over splines of 8 bins whose widths, heights and
// slopes are log-normal (by a factor of e), a point of each at a knot, one number beside it, closer
// than 1 to it, or uniform between and beyond, 1.2e4 points and a tenth for the gradient, with and
// without a hardware fma (scripts/measure_accuracy.py, tests/core compares); those of float32 are
// 1.2e5 points against the float64 reference.  A unit of y is the spacing of numbers at the largest
// of |y_0|, |y_1| and |y|; for the inverse that of x, and that of y over the slope; for a
// derivative the unit roundoff times the largest that its two parts are in the bin, in x with the
// slope over w.
//
//   spline_units            float32 7.6   float64 5.2
//   spline_slope_ulp        float32 8.9   float64 7.0
//   spline_inverse_units    float32 2.7   float64 1.8
//   spline_gradient_units   float32 9.6   float64 4.6
#ifndef KAC_SPLINE_H_
#define KAC_SPLINE_H_

#include "config.h"

namespace kac {
inline namespace KAC_LEVEL {

/// The first step of a search among `bins` bins: the largest power of two below their number, or 1.
KAC_FN int32 first_step(int32 bins) {
  int32 step = 1;
  while (2 * step < bins) step *= 2;
  return step;
}

/// One step of the search for the last bin that begins at or before x, or else the first: `found`
/// is at most that, and `last` the number of the last bin.  Steps are halved from first_step to 1.
/// The spline's knots begin at number `base`.
template <class T>
KAC_FN int32 searched(const T* edges, int32 base, int32 found, int32 step, int32 last, T x) {
  const int32 next = smaller(found + step, last);
  return x >= edges[base + next] ? next : found;
}

/// The bin of x.
template <class T>
KAC_FN int32 bin_of(const T* edges, int32 bins, T x) {
  int32 found = 0;
  for (int32 step = first_step(bins); step > 0; step /= 2) {
    found = searched(edges, 0, found, step, bins - 1, x);
  }
  return found;
}

template <class T>
struct Bin {
  T x_0, x_1, y_0, y_1, d, e;
};

template <class T>
KAC_FN Bin<T> bin_at(const T* x, const T* y, const T* slopes, int32 k) {
  return {x[k], x[k + 1], y[k], y[k + 1], slopes[k], slopes[k + 1]};
}

/// What all that is asked of a point is made of.
template <class T>
struct SplinePlace {
  T u, v, uv;
  T beyond;  ///< x less the end of the spline that it lies beyond, 0 within
  T w, h, s;
  T inverse;  ///< 1/D
  T share;    ///< (y - y_0)/h
  T squares;  ///< M
  T slope;
};

template <class T>
KAC_FN SplinePlace<T> spline_place(const Bin<T>& b, T x) {
  SplinePlace<T> p;
  const T within = select(x < b.x_0, b.x_0, select(x > b.x_1, b.x_1, x));
  p.beyond = x - within;
  p.w = b.x_1 - b.x_0;
  p.h = b.y_1 - b.y_0;
  p.s = p.h / p.w;
  p.u = (within - b.x_0) / p.w;
  p.v = (b.x_1 - within) / p.w;
  p.uv = p.u * p.v;
  p.inverse = T(1) / fma(b.d + b.e, p.uv, p.s * fma(p.u, p.u, p.v * p.v));
  p.share = p.u * fma(p.s, p.u, b.d * p.v) * p.inverse;
  p.squares = fma(b.e * p.u, p.u, fma(p.s + p.s, p.uv, b.d * p.v * p.v));
  const T ratio = p.s * p.inverse;
  p.slope = select(x < b.x_0, b.d, select(x > b.x_1, b.e, ratio * ratio * p.squares));
  return p;
}

/// y and y'.
template <class T>
struct SplineValue {
  T y, slope;
};

template <class T>
KAC_FN SplineValue<T> spline(const Bin<T>& b, T x) {
  const SplinePlace<T> p = spline_place(b, x);
  return {fma(p.h, p.share, b.y_0) + p.slope * p.beyond, p.slope};
}

/// Derivatives of f y + g y' in x and in the numbers of the bin.
template <class T>
struct SplineGradient {
  T x;
  T x_0, x_1, y_0, y_1, d, e;
};

/// For numbers f and g.  With F the share of y and all at fixed u,
///
///   dF/dd = u v (1 - F)/D       dy'/dd = s^2 v^2/D^2 - 2 y' u v/D
///   dF/de = -u v F/D            dy'/de = s^2 u^2/D^2 - 2 y' u v/D
///   dF/ds = u v (e u^2 - d v^2)/D^2       dy'/ds = 2 s u v (s + M (d + e)/D)/D^2
///   dF/du = s M/D^2             dy'/du = 2 s^2 (M_u D - M D_u)/D^3,
///                               M_u = u (e - s) + v (s - d),  D_u = (d + e - 2 s)(v - u)
///
/// and u, h and s are functions of the knots.  Beyond the ends u is 0 or 1 whatever x is.
template <class T>
KAC_FN SplineGradient<T> spline_gradient(const Bin<T>& b, T x, T f, T g) {
  const SplinePlace<T> p = spline_place(b, x);
  const T ratio = p.s * p.inverse, ratio2 = ratio * ratio, sum = b.d + b.e;
  const T rest = p.v * fma(p.s, p.v, b.e * p.u) * p.inverse;  // 1 - F
  const T step = p.uv * p.inverse, twice = T(2) * p.slope * step;
  const T fh = f * p.h;

  const T in_d = fma(fh, step * rest, g * (ratio2 * p.v * p.v - twice));
  const T in_e = g * (ratio2 * p.u * p.u - twice) - fh * (step * p.share);
  const T y_s = step * p.inverse * (b.e * p.u * p.u - b.d * p.v * p.v);
  const T slope_s = T(2) * ratio * step * fma(p.squares * p.inverse, sum, p.s);
  const T in_s = fma(fh, y_s, g * slope_s) / p.w;
  const T squares_u = fma(p.u, b.e - p.s, p.v * (p.s - b.d));
  const T below_u = (sum - (p.s + p.s)) * (p.v - p.u);
  const T bend = T(2) * ratio2 * fma(-p.squares * p.inverse, below_u, squares_u) / p.w;
  const bool before = p.beyond<T(0), after = p.beyond> T(0);
  const T in_x = fma(f, p.slope, select(before | after, T(0), g * bend));

  SplineGradient<T> result;
  result.x = in_x;
  result.x_0 = fma(p.s, in_s, -in_x * p.v);
  result.x_1 = -fma(p.s, in_s, in_x * p.u);
  result.y_0 = fma(f, rest, -in_s);
  result.y_1 = fma(f, p.share, in_s);
  result.d = in_d + select(before, f * p.beyond, T(0));
  result.e = in_e + select(after, f * p.beyond, T(0));
  return result;
}

/// The x where the spline is y, for the bin of y.
template <class T>
KAC_FN T spline_inverse(const Bin<T>& b, T y) {
  const T within = select(y < b.y_0, b.y_0, select(y > b.y_1, b.y_1, y));
  const T w = b.x_1 - b.x_0, inverse = T(1) / (b.y_1 - b.y_0);
  const T p = (within - b.y_0) * inverse, q = (b.y_1 - within) * inverse;
  const T m = (b.d * q - b.e * p) * (w * inverse), both = T(4) * p * q;
  const T root = sqrt(fma(m, m, both));
  const T k = select(m < T(0), both / (root - smaller(m, T(0))), m + root);
  const T u = T(2) * p / fma(T(2), p, k);
  return fma(w, u, b.x_0) + (y - within) / select(y < b.y_0, b.d, b.e);
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_SPLINE_H_
