// The exact flow of the conditional velocity from time to time: quantile to quantile.
//
//   X(s, x) = Q_s(F_t(x)),    |x| < c t;        X(s, x) = c s sign(x),    |x| >= c t  (the atoms)
//
// with F and Q of law.h at the times t and s.  F_t(x_t) does not change along dx/dt = v(t, x), the
// continuity equation; for s < t a place inside may come to the edge, and stays on the atom there.
//
// The probability never is a number between 0 and 1, of which tails and centre lose their digits.
// With M of law.h, and the mean over th of entire functions, it is either of
//
//   ln 2F(-|x|) = ln M - D,                                   the tail,
//   1 - 2F(-|x|) = tau xi mean phi(w),    w = tau (1 - zeta cos th),    phi(w) = (1 - e^-w)/w,
//
// the middle, whose terms are positive: put the integral of law.h for M into 1 - e^-D M.  At the
// edge they are -tau and tau phi(tau).  The middle is taken for tau <= 1, where nearly all of the
// law may be in the atoms and 1/2 - F no larger than tau/2; there the mean of N midpoints is exact
// up to I_N(z) < 2^-N/N!.  Newton's iteration on it, with the derivative tau (1 + tau/q(z)) mean
// e^-w, starts from the chord, which is above the root, and climbs to it, since it is concave.
// Where one of the times has a tau above 1, the error is that of a rounding of the standard
// deviation there.
//
// Measured: largest |X - exact| over |X| and the standard deviations c t min(1, tau^-1/2) at s and,
// times dX/dx, at t, over places as for law.h, with tau at s log-uniform in [1e-6, 1e6] for half of
// them, up to twice tau at t or the same for the others; 8000 points (float) and 1500, rounded up
// (scripts/measure_accuracy.py defines the scales, tests/core compares).
//
//   transport_scaled_error    float32 2.5e-07   float64 6.0e-16
#ifndef KAC_TRANSPORT_H_
#define KAC_TRANSPORT_H_

#include "law.h"

namespace kac {
inline namespace KAC_LEVEL {

/// Parameters of one sample in the working type.
template <class T>
struct Transport {
  Cone<T> cone;  ///< at t
  T reach;       ///< as in Law
  T tau, ct;     ///< at s
};

template <class T>
KAC_FN Transport<T> transport(double a, double c, double t, double s) {
  const Cone<T> to = cone<T>(a, c, s);
  Transport<T> k;
  k.cone = cone<T>(a, c, t);
  k.reach = reach_of(k.cone);
  k.tau = to.tau;
  k.ct = select(k.cone.c > T(0), to.ct, k.cone.c);  // NaN where either is no process
  return k;
}

/// The midpoints of half the circle, and 1 - cos of the first one.
template <class T>
struct Midpoints;
template <>
struct Midpoints<float> {
  static constexpr int count = 5, newton_steps = 2;
  static constexpr float first = 0.0489434837f;  // 1 - cos(pi/10)
};
template <>
struct Midpoints<double> {
  static constexpr int count = 8, newton_steps = 3;
  static constexpr double first = 0.019214719596769550;  // 1 - cos(pi/16)
};

/// Means over th, for tau <= 1.
template <class T>
struct Means {
  T phi;  ///< of phi(w)
  T exp;  ///< of e^-w
};

template <class T>
KAC_FN Means<T> means(T tau, T zeta, T delta) {
  constexpr T first = Midpoints<T>::first, curvature = T(4) * first * (T(2) - first);
  constexpr T weight = T(1) / T(Midpoints<T>::count);
  T s = first, rise = curvature * (T(1) - first);  // as in law.h
  Means<T> sum = {T(0), T(0)};
  for (int j = 0; j < Midpoints<T>::count; ++j) {
    const T w = tau * fma(zeta, s, delta), phi = decay_ratio(w);
    sum.phi += phi;
    sum.exp += fma(-w, phi, T(1));
    s += rise;
    rise = fma(curvature, T(1) - s, rise);
  }
  return {sum.phi * weight, sum.exp * weight};
}

/// The xi of a middle >= 0, for tau <= 1.
template <class T>
KAC_FN T solve_middle(T tau, T middle) {
  T xi = smaller(middle / (tau * decay_ratio(tau)), T(1));
  for (int i = 0; i < Midpoints<T>::newton_steps; ++i) {
    const T zeta = sqrt((T(1) - xi) * (T(1) + xi));
    const Means<T> mean = means(tau, zeta, xi * xi / (T(1) + zeta));
    const T slope = fma(tau, T(1) / bessel_ratio(tau * zeta), T(1)) * mean.exp;
    xi = larger(smaller(xi + fma(-xi, mean.phi, middle / tau) / slope, T(1)), T(0));
  }
  return xi;
}

/// X(s, x): odd, 0 at 0, c s sign(x) on and outside the cone; NaN for NaN.
template <class T, int n, class Rows>
KAC_FN void transport(const Rows& rows, const T (&x)[n], T (&out)[n]) {
  T tau[n], log_2f[n], middle[n], xi[n];
  bool from_tail = false, from_middle = false, to_tail = false, to_middle = false;
  Places<T, n> p;
  place(rows, x, p);
  for (int l = 0; l < n; ++l) {
    const auto k = rows.at(l);
    from_tail |= k.cone.tau > T(1);
    from_middle |= !(k.cone.tau > T(1));
    to_tail |= k.tau > T(1);
    to_middle |= !(k.tau > T(1));
    tau[l] = k.tau;
    log_2f[l] = middle[l] = xi[l] = T(0);
  }
  if (from_tail) {
    NodeSums<T, n> sums;
    sum_nodes<true>(p, sums);
    for (int l = 0; l < n; ++l) {
      const T m = tail_factor(rows.at(l).cone.tau, p.xi[l], p.zeta[l], p.delta[l],
                              sums.half_step[l], sums.tail[l]);
      log_2f[l] = smaller(fma(-rows.at(l).cone.tau, p.delta[l], log_sum(T(0), m)), T(0));
      middle[l] = T(1) - exponential(-log_2f[l]);
    }
  }
  if (from_middle) {
    for (int l = 0; l < n; ++l) {
      const T from = rows.at(l).cone.tau;
      const T found = from * p.xi[l] * means(from, p.zeta[l], p.delta[l]).phi;
      const T tail = log_scaled(T(1) - smaller(found, T(0.75)), T(0));
      log_2f[l] = select(from > T(1), log_2f[l], tail);
      middle[l] = select(from > T(1), middle[l], found);
    }
  }
  if (to_tail) solve_tail(tau, log_2f, xi);
  for (int l = 0; l < n; ++l) {
    const auto k = rows.at(l);
    const bool near = to_middle & !(k.tau > T(1));
    if (to_middle) xi[l] = select(near, solve_middle(k.tau, middle[l]), xi[l]);
    const bool edge =
        select(near, middle[l] >= k.tau * decay_ratio(smaller(k.tau, T(1))), log_2f[l] <= -k.tau);
    const T below = from_bits(to_bits(k.ct) - 1);  // not an atom; NaN below c s = 0
    const T inside = smaller(below, xi[l] * k.ct);
    const T distance = select(edge | (abs(x[l]) >= k.cone.ct), k.ct, inside);
    const T found = select(x[l] == T(0), T(0) * k.ct, with_sign(distance, x[l]));
    out[l] = select(abs(x[l]) <= infinity(T(0)), found, x[l]);  // keeps a NaN
  }
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_TRANSPORT_H_
