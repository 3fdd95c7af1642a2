// The conditional velocity of the Kac flow that starts at a point, and its derivatives.
//
//   v(t, x) = a x / (tau + q(z)),  tau = a t,  q(z) = z I0(z)/I1(z),  z = tau sqrt(1 - xi^2),
//   xi = x/(c t),  |x| < c t;        v(t, x) = c sign(x),  |x| >= c t  (the atoms)
//
// (arXiv 2506.20641, the quotient of the flux and the density of the telegrapher's equation.)
// q is even, smooth and increasing: q(0) = 2, q(z) = z + 1/2 + 3/(8z) + ... for large z, and
// solves the Riccati equation  q'(z) = z + (2 q - q^2)/z,  which closes every derivative.
//
// Measured: largest error of velocity() in units in the last place, and largest relative error of
// gradient(), against 40 digits over a in [1e-4, 1e5], c in [1e-3, 1e3], t in [1e-5, 1e2]
// and all of |x| < c t, half of the points close to the edge, 1e5 and 2e4 points, with and without
// a hardware fma (scripts/measure_accuracy.py, tests/core compares).  4e6 float32 points against
// the float64 velocity reached 3.5.
//
//   velocity_ulp              float32 3.5       float64 3.2
//   gradient_relative_error   float32 4.3e-06   float64 5.0e-14
#ifndef KAC_VELOCITY_H_
#define KAC_VELOCITY_H_

#include "coefficients.h"
#include "config.h"
#include "near.h"
#include "process.h"

namespace kac {
inline namespace KAC_LEVEL {

/// End of the fitted range of h(z) = q(z) - z - 1/2; beyond it h is below an ulp of q.
template <class T>
struct BesselRange;
template <>
struct BesselRange<float> {
  static constexpr float z_max = 8192.0f;
  static constexpr float z_fast = 2048.0f;
};
template <>
struct BesselRange<double> {
  static constexpr double z_max = 1e8;
  static constexpr double z_fast = 1e8;
};

/// q(z) = z I0(z)/I1(z) as a fraction: q(z) = z + 1/2 + num/den.  Domain z >= 0; NaN for NaN.
/// One rational covers the whole half line: h is analytic there and its nearest poles, the zeros of
/// I1, lie at +-3.83i.
template <class T>
struct BesselRatio {
  T num, den;
};

template <class T>
KAC_FN BesselRatio<T> bessel_remainder(T z) {
  const T clipped = larger(smaller(z, BesselRange<T>::z_max), z * T(0));  // keeps a NaN
  return {bessel_remainder_num(clipped), bessel_remainder_den(clipped)};
}

/// q(z) = linear z + rest, with linear = 0 or 1: 2 + z^2 g(z^2) for z < 2, where that loses least,
/// and z + (1/2 + h(z)) above.
template <class T>
struct BesselRatioTerms {
  T linear, rest;
};

template <class T>
KAC_FN BesselRatioTerms<T> bessel_ratio_terms(T z) {
  const BesselRatio<T> h = bessel_remainder(z);
  const bool small = z < T(2);
  const T y = smaller(z * z, T(4));
  const T series = fma(y, bessel_series(y), T(2));
  return {select(small, T(0), T(1)), select(small, series, T(0.5) + h.num / h.den)};
}

/// q(z) itself, within 2 ulp.
template <class T>
KAC_FN T bessel_ratio(T z) {
  const BesselRatioTerms<T> q = bessel_ratio_terms(z);
  return fma(q.linear, z, q.rest);
}

/// v/c inside the light cone for a x/c = y, with one division:  y den / ((tau + z + 1/2) den +
/// num). Up to twice the error of velocity(), which is far below that of the draw it is used with.
/// z is clipped where h is below an ulp of tau + q, tau >= z, and den times the largest tau below
/// 2^126, which holds y as well; a NaN comes through y.
template <class T>
KAC_FN T fast_interior_velocity(T y, T tau, T z) {
  const T clipped = smaller(z, BesselRange<T>::z_fast);
  const T num = bessel_remainder_num(clipped), den = bessel_remainder_den(clipped);
  return near_quotient(y * den, fma(tau + (z + T(0.5)), den, num));
}

/// Parameters of one sample in the working type; a, c and t were rounded to it before.
template <class T>
struct Cone {
  T a, c, t;  ///< c is NaN without a process (process.h), and what is made of it
  T tau;      ///< a t
  T ct;       ///< c t, rounded: |x| >= ct is an atom
  T unit;  ///< the power of two in (1/(c t), 2/(c t)]: lengths times it neither over- nor underflow
  T slope;  ///< a/(c unit)
};

/// 2^-k for 2^k <= x < 2^(k+1), x in the upper half of the exponent range or below it.
KAC_FN float inverse_power(float x) { return from_bits(0x7f000000u - (to_bits(x) & 0x7f800000u)); }
KAC_FN double inverse_power(double x) {
  return from_bits(0x7fe0000000000000ull - (to_bits(x) & 0x7ff0000000000000ull));
}

template <class T>
KAC_FN Cone<T> cone(double a, double c, double t) {
  Cone<T> k;
  k.a = static_cast<T>(a);
  k.t = static_cast<T>(t);
  k.c = speed_of(k.a, static_cast<T>(c), k.t);
  k.tau = static_cast<T>(static_cast<double>(k.a) * static_cast<double>(k.t));
  k.ct = k.c * k.t;
  k.unit = inverse_power(k.ct);
  k.slope = static_cast<T>(static_cast<double>(k.a) /
                           (static_cast<double>(k.c) * static_cast<double>(k.unit)));
  return k;
}

/// sqrt((c t - |x|)(c t + |x|)) times k.unit, the first factor from an exact product, so that the
/// root keeps its relative accuracy up to the edge of the cone.  z = k.slope times it.
template <class T>
KAC_FN T cone_root(const Cone<T>& k, T x) {
  const T gap = larger(product_minus(k.c, k.t, abs(x)), T(0));
  return sqrt((gap * k.unit) * ((k.ct + abs(x)) * k.unit));
}

/// v(t, x).  0 at x = 0 for t = 0 as well; c sign(x) on and outside the cone; NaN for NaN.
/// |v| <= c always: an interior value that rounds above c tau/(tau + 2) is still below c.
template <class T>
KAC_FN T velocity(const Cone<T>& k, T x) {
  const T root = cone_root(k, x);
  const BesselRatioTerms<T> q = bessel_ratio_terms(k.slope * root);
  // tau + q(z), with a t and z rounded only together with the sums they enter.
  const T sum = fma(k.a, k.t, fma(k.slope, q.linear * root, q.rest));
  const T inside = k.a * x / sum;
  const T atom = select(x == T(0), T(0), with_sign(k.c, x));
  return select(abs(x) >= k.ct, atom, inside);
}

/// rho(z) = q'(z)/z = 1 + q (2 - q)/z^2: 1/2 at 0, 1/z for large z.  With q = 2 + z^2 g the small-z
/// form is 1 - g (2 + z^2 g); with q = z + 1/2 + h the large-z form is
/// ((1 - 2h) z + (1/2 + h)(3/2 - h))/z^2.  They meet at z = 2, where both lose about two bits.
template <class T>
KAC_FN T bessel_ratio_slope(T z) {
  const T y = z * z;
  const BesselRatio<T> f = bessel_remainder(z);
  const T h = (f.num / f.den) * smaller(BesselRange<T>::z_max / z, T(1));  // 3/(8z) past the fit
  const T large = (fma(T(-2) * h, z, z) + (T(0.5) + h) * (T(1.5) - h)) / y;
  const T g = bessel_series(smaller(y, T(4)));
  const T small = T(1) - g * fma(smaller(y, T(4)), g, T(2));
  return select(y < T(4), small, large);
}

template <class T>
struct Gradient {
  T dx, dt;
};

/// (dv/dx, dv/dt) inside the cone, (0, 0) on the atoms:
///   dv/dx =  a (tau + q + y^2 rho)/(tau + q)^2,   y = a x/c
///   dv/dt = -a^2 x (1 + tau rho)/(tau + q)^2,   by a x, since y may vanish where that does not
template <class T>
KAC_FN Gradient<T> gradient(const Cone<T>& k, T x) {
  const T z = k.slope * cone_root(k, x);
  const T y = k.slope * (x * k.unit);
  const T rho = bessel_ratio_slope(z);
  const T inverse = T(1) / (k.tau + bessel_ratio(z));
  const bool atom = abs(x) >= k.ct;
  Gradient<T> g;
  g.dx = select(atom, T(0), k.a * inverse * fma(y * inverse, y * rho, T(1)));
  g.dt = select(atom, T(0), -(k.a * inverse) * (k.a * x * inverse) * fma(k.tau, rho, T(1)));
  return g;
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_VELOCITY_H_
