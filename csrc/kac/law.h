// The law of K(t): density of its continuous part, distribution function, quantiles.
//
// With tau = a t, xi = |x|/(c t), zeta = sqrt(1 - xi^2), delta = 1 - zeta = xi^2/(1 + zeta) and
// z = tau zeta, D = tau delta = tau - z, on |x| < c t:
//
//   p(x)  = (a/2c) e^-tau (I0(z) + tau I1(z)/z) = (a/2c) e^-D A,     A = I0e(z) (1 + tau/q(z))
//   F(x)  = (1/2) e^-D M                    for x <= 0,     F(x) = 1 - F(-x)    for x > 0
//
// with I0e(z) = e^-z I0(z) and q of velocity.h (arXiv 2506.20641 for p).  The atoms at +-c t carry
// e^-tau/2 each and belong to F only.
//
// The factor M.  Started to the right, K(t) <= x if and only if the time spent moving right is at
// most (t + x/c)/2; the turns then form two independent Poisson counts, N1 of mean (tau + y)/2 to
// the right and N2 of mean (tau - y)/2 to the left, y = a x/c, and averaged over the first
// direction F(x) = P(N2 < N1) + P(N2 = N1)/2.  Cauchy's integral of the generating function of N1 -
// N2 over the circle through its saddle point gives, for x <= 0,
//
//   M = (1/2pi) int_-pi^pi e^(-z (1 - cos th)) xi / (1 - zeta cos th) d th,      0 < M <= 1
//
// all positive, so that the tail keeps its relative accuracy.  The same integral with 1 in place of
// the fraction is I0e(z), from the same exponentials.
//
// Quadrature.  The midpoint rule of step h = 2 pi/N, th_j = (j + 1/2) h, is exact up to the values
// of the integrand on Im th = eta, sinh eta = N/z, where e^(z (cosh eta - 1) - N eta) is least, and
// up to the poles of the fraction at +-i sigma, e^sigma = (1 + xi)/zeta, if they lie below eta.
// Their part is 2 e^D/(1 + e^(N sigma)), and sigma < eta is the same as |y| < N.  (Kept for larger
// |y| it would spoil the tail; left out for smaller, the centre.)  Requiring
// N eta - z (cosh eta - 1) = L and expanding in L/z gives N^2 = 2 L (z + L/6).  J nodes on each
// side cover the whole circle, N = 2J, as long as that is enough, and then the part |th| < J h,
// beyond which the integrand is below e^-L.  J and L are in Nodes<T>; 1 - cos th_j comes from its
// second difference, whose terms are positive where they matter.
//
// Quantiles.  log F is concave in x (p is, since I0 and I1/z have real zeros in z^2 only, and the
// atom below does not change that), and F <= e^-D/2 with equality at both ends, so Newton's
// iteration on log F from the place where e^-D/2 = q climbs to the root without overshooting.
//
// All functions work on n elements side by side (arrays of length n; laws.at(l) is the law of
// element l): n = 1 for a single one, a block on a CPU, whose loops become vector instructions.
//
// Measured: largest errors against 40 digits over tau in [1e-6, 1e6], c and t in [0.05, 20] and
// D <= 80 (float) or 700 (double), 3e4 points in five draws, with and without a hardware fma,
// rounded up (scripts/measure_accuracy.py defines the scales, tests/core compares).  p and the tail
// of F are relative to 1 + D, since rounding x alone changes them by D ulps.
//
//   pdf_scaled_error          float32 5.5e-07   float64 1.2e-15
//   logpdf_scaled_error       float32 4.0e-07   float64 1.0e-15
//   cdf_error                 float32 2.2e-07   float64 5.5e-16
//   tail_scaled_error         float32 4.0e-07   float64 1.1e-15
//   ppf_scaled_error          float32 4.0e-07   float64 9.5e-16
#ifndef KAC_LAW_H_
#define KAC_LAW_H_

#include "config.h"
#include "logarithm.h"
#include "velocity.h"

namespace kac {
inline namespace KAC_LEVEL {

/// The quadrature's J and L: relative errors of I0e and M below 6e-8 (float) and 1e-16 (double).
/// Newton steps of a quantile: four leave 1e-12 c t min(1, tau^-1/2), five 1e-24.  tests/core has
/// the same rule and iteration in 40 digits.
template <class T>
struct Nodes;
template <>
struct Nodes<float> {
  static constexpr int count = 11, newton_steps = 4;
  static constexpr float exponent = 19.0f;
};
template <>
struct Nodes<double> {
  static constexpr int count = 24, newton_steps = 5;
  static constexpr double exponent = 40.0;
};

/// Parameters of one sample in the working type.
template <class T>
struct Law {
  Cone<T> cone;
  T reach;  ///< c t in units of 1/cone.unit: in [1, 2), and 1 for t = 0
  T rate;   ///< a/(2c) = rate 2^power, rate in (1/2, 2), so that it neither over- nor underflows
  T power;  ///< an integer
  T atom;   ///< e^-tau/2
  T last_atom;  ///< the largest number <= e^-tau/2: a smaller probability has the quantile -c t
};

/// The largest number of the type that is not above x >= 0.
KAC_FN double round_down(double x, double) { return x; }
KAC_FN float round_down(double x, float) {
  const float y = static_cast<float>(x);
  return select(static_cast<double>(y) > x, from_bits(to_bits(y) - 1u), y);
}

/// Exponent and fraction in [1, 2) of a positive normal number.
KAC_FN double exponent_of(double x) {
  return from_bits(0x4330000000000000ull | (to_bits(x) >> 52)) - 4503599627371519.0;
}
KAC_FN double fraction_of(double x) {
  return from_bits((to_bits(x) & 0x000fffffffffffffull) | 0x3ff0000000000000ull);
}

/// Law::reach.
template <class T>
KAC_FN T reach_of(const Cone<T>& cone) {
  return select(cone.ct > T(0), cone.ct * cone.unit, T(1));
}

/// tau = a t enters e^-tau as an exact product of two numbers.
template <class T>
KAC_FN Law<T> law(double a, double c, double t) {
  Law<T> k;
  k.cone = cone<T>(a, c, t);
  k.reach = reach_of(k.cone);
  const double rate = static_cast<double>(k.cone.a), speed = static_cast<double>(k.cone.c);
  k.rate = static_cast<T>(fraction_of(rate) / fraction_of(speed));
  k.power = static_cast<T>(exponent_of(rate) - exponent_of(speed) - 1.0);
  const double time = static_cast<double>(k.cone.t), tau = rate * time;
  const double half = fma(-0.5, product_minus(rate, time, tau), 0.5);  // e^-low/2
  const double atom = larger(exponential_times(tau, half, 0.0), 0.0);
  k.atom = static_cast<T>(atom);
  k.last_atom = round_down(atom, T(0));
  return k;
}

/// xi, zeta, delta and z, structure of arrays.
template <class T, int n>
struct Places {
  T xi[n], zeta[n], delta[n], z[n];

  KAC_FN void put(int l, T tau, T xi_l, T zeta_l) {
    xi[l] = xi_l;
    zeta[l] = zeta_l;
    delta[l] = xi_l * xi_l / (T(1) + zeta_l);
    z[l] = tau * zeta_l;
  }
};

/// Where c t underflows to 0, x = 0 is the one place inside and its middle.
template <class T, int n, class Laws>
KAC_FN void place(const Laws& laws, const T (&x)[n], Places<T, n>& p) {
  for (int l = 0; l < n; ++l) {
    const auto k = laws.at(l);
    const T zeta = select(k.cone.ct == T(0), T(1), cone_root(k.cone, x[l]) / k.reach);
    p.put(l, k.cone.tau, abs(x[l]) * k.cone.unit / k.reach, zeta);
  }
}

/// Sums over the nodes of one side: e = e^(-z (1 - cos th_j)), and e/(1 - zeta cos th_j).
template <class T, int n>
struct NodeSums {
  T half_step[n];  ///< h/2
  T bessel[n];
  T tail[n];  ///< left out unless asked for
};

template <bool with_tail, class T, int n>
KAC_FN void sum_nodes(const Places<T, n>& p, NodeSums<T, n>& sums) {
  constexpr T count = T(Nodes<T>::count), exponent = Nodes<T>::exponent;
  constexpr T pi2 = T(9.8696044010893586188);
  T s[n], rise[n],
      curvature[n];  // s = 1 - cos th_j, its first and the scale of its second difference
  for (int l = 0; l < n; ++l) {
    // g = (h/2)^2 = (pi/N)^2;  1 - cos(h/2) by its series, g <= (pi/22)^2 or (pi/48)^2
    const T g =
        smaller(pi2 / (T(4) * count * count), pi2 / (T(2) * exponent) / (p.z[l] + exponent / T(6)));
    const T upper = fma(fma(g, T(1) / T(1814400), T(-1) / T(20160)), g, T(1) / T(360));
    s[l] = T(0.5) * g * fma(fma(upper, g, T(-1) / T(12)), g, T(1));
    curvature[l] = T(4) * s[l] * (T(2) - s[l]);  // 2 (1 - cos h)
    rise[l] = curvature[l] * (T(1) - s[l]);
    sums.half_step[l] = sqrt(g);
    sums.bessel[l] = T(0);
    if (with_tail) sums.tail[l] = T(0);
  }
  for (int j = 0; j < Nodes<T>::count; ++j) {
    for (int l = 0; l < n; ++l) {
      const T e = exponential(p.z[l] * s[l]);
      sums.bessel[l] += e;
      if (with_tail) sums.tail[l] += e / fma(p.zeta[l], s[l], p.delta[l]);
      s[l] += rise[l];
      rise[l] = fma(curvature[l], T(1) - s[l], rise[l]);
    }
  }
}

/// A from the node sums.
template <class T>
KAC_FN T density_factor(T tau, T z, T half_step, T bessel) {
  const T i0e = bessel * half_step * T(0.63661977236758134308);  // 2/pi
  return fma(i0e, tau / bessel_ratio(z), i0e);
}

/// M from the node sums.  N sigma - D >= 0 where the pole counts, and sigma = ln(1 + (xi +
/// delta)/zeta) keeps its relative accuracy as xi -> 0.
template <class T>
KAC_FN T tail_factor(T tau, T xi, T zeta, T delta, T half_step, T tail) {
  const T big_n = T(3.14159265358979323846) / half_step;
  const T ratio = smaller(T(0x1p100), (xi + delta) / zeta);
  const T turns = big_n * log_sum(T(1), ratio);
  const T pole = T(2) * exponential(fma(-tau, delta, turns)) / (T(1) + exponential(turns));
  return fma(tail * half_step * T(0.63661977236758134308), xi,
             select(tau * xi < big_n, pole, T(0)));
}

/// Density of the continuous part: 0 outside |x| <= c t, the interior limit
/// (a/2c) e^-tau (1 + tau/2) at |x| = c t, NaN for NaN; infinite only where the density is.
template <class T, int n, class Laws>
KAC_FN void pdf(const Laws& laws, const T (&x)[n], T (&out)[n]) {
  Places<T, n> p;
  NodeSums<T, n> sums;
  place(laws, x, p);
  sum_nodes<false>(p, sums);
  for (int l = 0; l < n; ++l) {
    const Law<T> k = laws.at(l);
    const T factor = density_factor(k.cone.tau, p.z[l], sums.half_step[l], sums.bessel[l]);
    const T inside = exponential_times(k.cone.tau * p.delta[l], k.rate * factor, k.power);
    out[l] = select(abs(x[l]) > k.cone.ct, T(0), inside);
  }
}

/// Its logarithm, -inf outside; no underflow inside.
template <class T, int n, class Laws>
KAC_FN void logpdf(const Laws& laws, const T (&x)[n], T (&out)[n]) {
  Places<T, n> p;
  NodeSums<T, n> sums;
  place(laws, x, p);
  sum_nodes<false>(p, sums);
  for (int l = 0; l < n; ++l) {
    const Law<T> k = laws.at(l);
    const T factor = density_factor(k.cone.tau, p.z[l], sums.half_step[l], sums.bessel[l]);
    const T inside = fma(-k.cone.tau, p.delta[l], log_scaled(k.rate * factor, k.power));
    out[l] = select(abs(x[l]) > k.cone.ct, -infinity(T(0)), inside);
  }
}

/// P(K(t) <= x), right-continuous: 0 below -c t, e^-tau/2 there, 1 from c t on; for t = 0 the step
/// at 0.  1/2 exactly at x = 0 inside; NaN for NaN.
template <class T, int n, class Laws>
KAC_FN void cdf(const Laws& laws, const T (&x)[n], T (&out)[n]) {
  Places<T, n> p;
  NodeSums<T, n> sums;
  place(laws, x, p);
  sum_nodes<true>(p, sums);
  for (int l = 0; l < n; ++l) {
    const Law<T> k = laws.at(l);
    const T factor =
        tail_factor(k.cone.tau, p.xi[l], p.zeta[l], p.delta[l], sums.half_step[l], sums.tail[l]);
    const T tail = exponential_times(k.cone.tau * p.delta[l], T(0.5) * factor, T(0));
    const T low = larger(k.atom, tail);  // monotone up to the edge
    const T inside = select(x[l] > T(0), T(1) - low, low);
    const T left = select(x[l] < -k.cone.ct, T(0), k.atom);
    const T below = select(x[l] <= -k.cone.ct, left, inside);
    out[l] = select(x[l] >= k.cone.ct, T(1), below);
  }
}

/// The xi where ln F = ln q, for ln 2q <= 0; 1 where that is at most -tau.
///
/// In units of c t, d(log F)/d(xi) = -tau A/M.
template <class T, int n>
KAC_FN void solve_tail(const T (&tau)[n], const T (&log_2q)[n], T (&xi)[n]) {
  Places<T, n> p;
  NodeSums<T, n> sums;
  for (int l = 0; l < n; ++l) {
    const T delta = smaller(-log_2q[l], tau[l]) / tau[l];
    xi[l] = sqrt(delta * (T(2) - delta));
  }
  for (int i = 0; i < Nodes<T>::newton_steps; ++i) {
    for (int l = 0; l < n; ++l) {
      p.put(l, tau[l], xi[l], sqrt((T(1) - xi[l]) * (T(1) + xi[l])));
    }
    sum_nodes<true>(p, sums);
    for (int l = 0; l < n; ++l) {
      const T half = sums.half_step[l];
      const T a = density_factor(tau[l], p.z[l], half, sums.bessel[l]);
      const T m = tail_factor(tau[l], xi[l], p.zeta[l], p.delta[l], half, sums.tail[l]);
      const T gap = log_sum(T(0), m) - fma(tau[l], p.delta[l], log_2q[l]);  // log F - log q
      xi[l] = larger(smaller(fma(gap, m / (tau[l] * a), xi[l]), T(1)), T(0));
    }
  }
}

/// The quantile: the least x with P(K(t) <= x) >= q, up to the error of the distribution function.
/// -c t for q <= e^-tau/2 and c t for 1 - q <= e^-tau/2, 0 at q = 1/2, odd about it; NaN for NaN
/// and outside [0, 1].
template <class T, int n, class Laws>
KAC_FN void ppf(const Laws& laws, const T (&q)[n], T (&out)[n]) {
  T tau[n], log_2q[n], xi[n];
  for (int l = 0; l < n; ++l) {
    const T low = smaller(q[l], T(1) - q[l]);
    const bool tiny = low < T(1e-30);  // it may be denormal
    log_2q[l] = log_scaled(select(tiny, low * T(0x1p64), low), select(tiny, T(-63), T(1)));
    tau[l] = laws.at(l).cone.tau;
  }
  solve_tail(tau, log_2q, xi);
  for (int l = 0; l < n; ++l) {
    const Law<T> k = laws.at(l);
    const T low = smaller(q[l], T(1) - q[l]);
    const T below = from_bits(to_bits(k.cone.ct) - 1);  // not an atom; NaN below c t = 0
    const T inside = smaller(below, xi[l] * k.cone.ct);
    const T distance = select(low <= k.last_atom, k.cone.ct, inside);
    const T x = select(low == T(0.5), T(0) * k.cone.ct, with_sign(distance, q[l] - T(0.5)));
    out[l] = select(low >= T(0), x, quiet_nan(T(0)));
  }
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_LAW_H_
