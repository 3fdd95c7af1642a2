// Operations for places where an error of a few units in the last place does no harm: in float on a
// GPU one or a few instructions where the exactly rounded ones take ten and a branch, everywhere
// else the plain operations.
//
//   near_quotient   a/b          GPU, float: 2 ulp; b and the quotient normal or 0, |b| < 2^126
//   near_sqrt       sqrt(x)      GPU, float: 2 ulp; x normal or 0
//   near_log_sum    ln(s + p)    GPU, float: 8e-7 relative; domain of log_sum
//
// (Errors of rcp.approx, sqrt.approx and lg2.approx: PTX ISA, floating-point instructions; numbers
// below 2^-126 count as 0.)  tests/native/simulated_grid.cpp puts such errors into the sampler on
// the CPU, and tests/core/test_simulated_grid.py measures what becomes of them.
#ifndef KAC_NEAR_H_
#define KAC_NEAR_H_

#include "coefficients.h"
#include "config.h"
#include "logarithm.h"

namespace kac {
inline namespace KAC_LEVEL {

#if defined(__CUDA_ARCH__)
KAC_FN float near_quotient(float a, float b) {
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(b));
  return __fmul_rn(a, inverse);
}
KAC_FN float near_sqrt(float x) {
  float root;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(x));
  return root;
}
KAC_FN float near_log2(float x) {
  float log;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log) : "f"(x));
  return log;
}
#elif defined(KAC_SIMULATE_NEAR)
// A test's own versions, wrong by as much as a GPU may be.
float near_quotient(float a, float b);
float near_sqrt(float x);
float near_log2(float x);
#else
KAC_FN float near_quotient(float a, float b) { return a / b; }
KAC_FN float near_sqrt(float x) { return sqrt(x); }
#endif
KAC_FN double near_quotient(double a, double b) { return a / b; }
KAC_FN double near_sqrt(double x) { return sqrt(x); }

/// The root of a number in [0, 1], never above 1.
KAC_FN float near_unit_sqrt(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  float root;
  asm("min.NaN.f32 %0, %1, 0f3F800000;" : "=f"(root) : "f"(near_sqrt(x)));
  return root;
#elif defined(__CUDA_ARCH__) || defined(KAC_SIMULATE_NEAR)
  return smaller(1.0f, near_sqrt(x));  // a NaN comes through
#else
  return sqrt(x);
#endif
}
KAC_FN double near_unit_sqrt(double x) { return sqrt(x); }

/// The logarithm of a sum that is far from 1 is right to 2^-22 absolutely in base 2; where
/// p < s/4 with s = 1 the series of ln(1 + p) keeps the relative accuracy.  (With s < 1 there is no
/// such p in the sampler: it would need e^-tau > 2^-31.)
KAC_FN float near_log_sum(float s, float p) {
#if defined(__CUDA_ARCH__) || defined(KAC_SIMULATE_NEAR)
  const float far = near_log2(s + p) * 0x1.62e43p-1f;
  return select(p < 0.25f * s, p * log1p_ratio(p), far);
#else
  return log_sum(s, p);
#endif
}
KAC_FN double near_log_sum(double s, double p) { return log_sum(s, p); }

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_NEAR_H_
