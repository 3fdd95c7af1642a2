// Calls what csrc/kac offers, so that a compiler has to generate code for all of it: on the CPU,
// and on the device from a kernel.  Every header of csrc/kac is included here.
#ifndef KACFLOW_TESTS_USE_HEADERS_H_
#define KACFLOW_TESTS_USE_HEADERS_H_

#include "coefficients.h"
#include "config.h"
#include "events.h"
#include "law.h"
#include "logarithm.h"
#include "near.h"
#include "pair.h"
#include "path.h"
#include "philox.h"
#include "process.h"
#include "sampler.h"
#include "schedules.h"
#include "spline.h"
#include "storage.h"
#include "transport.h"
#include "uniform.h"
#include "velocity.h"

namespace kac {
inline namespace KAC_LEVEL {

template <class T>
struct DrawOf;
template <>
struct DrawOf<float> {
  static KAC_FN Draw<float> at(uint64 seed, uint64 i) { return draw(philox(seed, i, 0, 0)); }
};
template <>
struct DrawOf<double> {
  static KAC_FN Draw<double> at(uint64 seed, uint64 i) {
    return draw(philox(seed, i, 0, 0), philox(seed, i, 1, 0));
  }
};

template <class T>
struct StepDrawOf;
template <>
struct StepDrawOf<float> {
  static KAC_FN StepDraw<float> at(uint64 seed, uint64 i, uint32 j) {
    return step_draw(philox(seed, i, 0, j));
  }
};
template <>
struct StepDrawOf<double> {
  static KAC_FN StepDraw<double> at(uint64 seed, uint64 i, uint32 j) {
    return step_draw(philox(seed, i, 0, j), philox(seed, i, 1, j));
  }
};

/// The law of a single element.
template <class T>
struct OneLaw {
  Law<T> law;
  KAC_FN Law<T> at(int) const { return law; }
};

/// Density, its logarithm, distribution function and quantile.
template <class T>
KAC_FN T use_law(double a, double c, double t, T x) {
  const OneLaw<T> laws{law<T>(a, c, t)};
  const T places[1] = {x};
  T density[1], logarithm[1], probability[1], quantile[1];
  pdf(laws, places, density);
  logpdf(laws, places, logarithm);
  cdf(laws, places, probability);
  ppf(laws, probability, quantile);
  return density[0] + logarithm[0] + probability[0] + quantile[0];
}

/// From a time to twice it.
template <class T>
struct OneMove {
  Transport<T> row;
  KAC_FN Transport<T> at(int) const { return row; }
};
template <class T>
KAC_FN T use_transport(double a, double c, double t, T x) {
  const T places[1] = {x};
  T moved[1];
  transport(OneMove<T>{transport<T>(a, c, t, 2.0 * t)}, places, moved);
  return moved[0];
}

/// Two intervals of a path on a grid.
template <class T>
KAC_FN T use_path(uint64 seed, uint64 i, double a, double c, double t) {
  const PathPoint<T> begin =
      first_step(step_constants<T>(a, c, 0.0, t), StepDrawOf<T>::at(seed, i, 0));
  const PathPoint<T> end =
      next_step(step_constants<T>(a, c, t, 2.0 * t), StepDrawOf<T>::at(seed, i, 1), begin);
  return end.position + end.direction;
}

/// The first direction of a path and its first two waiting times.
KAC_FN double use_events(uint64 seed, uint64 i) {
  const Words w = waiting_words(seed, i, 0);
  return first_direction(seed, i) + even_wait(w) + odd_wait(w);
}

/// A spline of two bins, its gradients and its inverse.
template <class T>
KAC_FN T use_spline(T x) {
  const T edges[3] = {T(-1), T(0), T(1)}, values[3] = {T(-2), T(0.5), T(1)};
  const T slopes[3] = {T(3), T(1), T(0.5)};
  const Bin<T> bin = bin_at(edges, values, slopes, bin_of(edges, 2, x));
  const SplineValue<T> y = spline(bin, x);
  const SplineGradient<T> g = spline_gradient(bin, x, T(1), T(2));
  return y.y + y.slope + g.x + g.x_0 + g.x_1 + g.y_0 + g.y_1 + g.d + g.e + spline_inverse(bin, y.y);
}

/// Every signal and clock.
KAC_FN double use_schedules(double t) {
  double sum = 0.0;
  for (int64 kind = 0; kind <= kLambdaSignal; ++kind) {
    const Jet f = signal(kind, t, 1.0, 0.0), g = clock(kind, t, 1.0, 0.0);
    sum += f.value + f.slope + g.value + g.slope;
  }
  return sum;
}

/// A number that depends on every function.
template <class T>
KAC_FN T use_everything(uint64 seed, uint64 i, double a, double c, double t, T x) {
  const NoiseConstants<T> constants = noise_constants<T>(a, c, t);
  const Draw<T> u = DrawOf<T>::at(seed, i);
  const Pair<T> p = pair(noise(constants, u), {T(0.5), T(-1), T(1)}, x);
  const Cone<T> k = cone<T>(a, c, t);
  const Gradient<T> g = gradient(k, x);
  return displacement(constants, u) + p.x_t + p.dx_t + velocity(k, x) + g.dx + g.dt +
         use_law(a, c, t, x) + use_transport(a, c, t, x) + use_path<T>(seed, i, a, c, t) +
         use_spline(x) + static_cast<T>(use_events(seed, i) + use_schedules(t));
}

/// A float through both 16-bit formats.
KAC_FN float use_storage(float x) {
  return widen(Narrow<bfloat16>::of(x)) + widen(Narrow<float16>::of(x));
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KACFLOW_TESTS_USE_HEADERS_H_
