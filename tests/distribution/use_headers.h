// Calls what csrc/kac offers, so that a compiler has to generate code for all of it: on the CPU,
// and on the device from a kernel.  Every header of csrc/kac is included here.
#ifndef KACFLOW_TESTS_USE_HEADERS_H_
#define KACFLOW_TESTS_USE_HEADERS_H_

#include "coefficients.h"
#include "config.h"
#include "logarithm.h"
#include "near.h"
#include "pair.h"
#include "philox.h"
#include "sampler.h"
#include "storage.h"
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

/// A number that depends on every function.
template <class T>
KAC_FN T use_everything(uint64 seed, uint64 i, double a, double c, double t, T x) {
  const NoiseConstants<T> constants = noise_constants<T>(a, c, t);
  const Draw<T> u = DrawOf<T>::at(seed, i);
  const Pair<T> p = pair(noise(constants, u), {T(0.5), T(-1), T(1)}, x);
  const Cone<T> k = cone<T>(a, c, t);
  const Gradient<T> g = velocity_gradient(k, x);
  return displacement(constants, u) + p.x_t + p.dx_t + velocity(k, x) + g.dx + g.dt;
}

/// A float through both 16-bit formats.
KAC_FN float use_storage(float x) {
  return widen(Narrow<bfloat16>::of(x)) + widen(Narrow<float16>::of(x));
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KACFLOW_TESTS_USE_HEADERS_H_
