// One element of the training pair (x_t, dx_t), data at t = 0 and noise at t = T:
//
//   X_t = f X_0 + K(g),     dX_t = f' X_0 + g' v(g, K(g))
//
// with f, f', g, g' the signal schedule, its derivative, the noise clock and its derivative at t.
// The velocity is taken at the unrounded draw and from its exact atom flag, never from x_t.
#ifndef KAC_PAIR_H_
#define KAC_PAIR_H_

#include "config.h"
#include "near.h"
#include "sampler.h"
#include "velocity.h"

namespace kac {
inline namespace KAC_LEVEL {

/// Everything one row (the elements that share t, a and c) needs.
template <class T>
struct NoiseConstants {
  MapConstants<T> map;
  T tau;  ///< a g
  T c;
  T ct;  ///< c g
};

template <class T>
KAC_FN NoiseConstants<T> noise_constants(double a, double c, double t) {
  const Cone<T> k = cone<T>(a, c, t);
  NoiseConstants<T> n;
  n.map = map_constants<T>(static_cast<double>(k.a), static_cast<double>(k.t));
  n.tau = k.tau;
  n.c = k.c;
  n.ct = k.ct;
  return n;
}

/// K(t), and the conditional velocity there.
template <class T>
struct Noise {
  T k, v;
};

/// K(t) alone.
template <class T>
KAC_FN T displacement(const NoiseConstants<T>& n, const Draw<T>& u) {
  return n.ct * endpoint(n.map, u).xi;
}

/// K(t) and the velocity at an endpoint.
template <class T>
KAC_FN Noise<T> noise_at(const NoiseConstants<T>& n, const Endpoint<T>& p) {
  const T z = n.tau * near_sqrt(p.one_minus_xi2);
  const T inside = fast_interior_velocity(n.tau * p.xi, n.tau, z);
  return {n.ct * p.xi, n.c * select(p.atom != 0, p.xi, inside)};
}

template <class T>
KAC_FN Noise<T> noise(const NoiseConstants<T>& n, const Draw<T>& u) {
  return noise_at(n, endpoint(n.map, u));
}

template <class T>
struct Schedule {
  T f, df, dg;
};

template <class T>
struct Pair {
  T x_t, dx_t;
};

template <class T>
KAC_FN Pair<T> pair(const Noise<T>& n, const Schedule<T>& s, T x_0) {
  return {fma(s.f, x_0, n.k), fma(s.df, x_0, s.dg * n.v)};
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_PAIR_H_
