// The named schedules of the path X_t = f(t) X_0 + K(g(t)), data at t = 0 and noise at t = T:
// signals f with their derivatives, and noise clocks g with theirs, once per row and in double.
//
//   signal   constant 1                       clock   linear   t
//            linear   1 - t/T                         square   t^2/T
//            exp      e^-t
//            cosine   cos(pi t/(2T))
//            lambda   A cos wt / (A cos wt + sin wt),  A = e^-1, w = pi/(2T)
//
// Source: Duong, Chemseddine, Friz, Steidl, arXiv 2506.20641.  Domain: t in [0, T], and beyond it
// by the rounding of a time in 16 bits; NaN elsewhere, so that a time that nobody checked shows.
//
// Measured: largest error of f and g/T, and of f' and g' in units of the steepest slope in [0, T],
// against 40 digits, T from 1e-3 to 700, 1e5 times each, with and without a hardware fma
// (tests/core/test_named_schedules.py):
//
//   schedule_error            float64 5.5e-16, that of lambda; 2.9e-16 the others
#ifndef KAC_SCHEDULES_H_
#define KAC_SCHEDULES_H_

#include "config.h"
#include "logarithm.h"

namespace kac {
inline namespace KAC_LEVEL {

/// Numbers of the schedules; the names are those of kacflow_core/_schedules.py.
enum SignalKind : int64 {
  kGivenSignal,
  kConstantSignal,
  kLinearSignal,
  kExponentialSignal,
  kCosineSignal,
  kLambdaSignal
};
enum ClockKind : int64 { kGivenClock, kLinearClock, kSquareClock };

/// A function and its derivative at one time.
struct Jet {
  double value, slope;
};

/// t if 0 <= t <= T (1 + 2^-8), else NaN.
KAC_FN double time_within(double t, double T) {
  return select(t >= 0.0 && t <= T * (1.0 + 0x1p-8), t, quiet_nan(0.0));
}

struct Quarter {
  double sine, cosine;
};

/// sin and cos of pi u/2 for 0 <= u <= 3/2: Taylor's series within |x| <= pi/4, whose first terms
/// left out are below 1e-19; each keeps its relative accuracy at its zero, so that the signals that
/// end at 0 do so exactly.
KAC_FN Quarter quarter(double u) {
  const bool late = u > 0.5;
  const double v = select(late, 1.0 - u, u);
  const double x = fma(v, 0x1.921fb54442d18p+0, v * 0x1.1a62633145c07p-54);  // pi/2
  const double y = x * x;
  double s = 1.0 / 355687428096000.0, c = 1.0 / 20922789888000.0;  // 1/17!, 1/16!
  s = fma(s, y, -1.0 / 1307674368000.0);
  s = fma(s, y, 1.0 / 6227020800.0);
  s = fma(s, y, -1.0 / 39916800.0);
  s = fma(s, y, 1.0 / 362880.0);
  s = fma(s, y, -1.0 / 5040.0);
  s = fma(s, y, 1.0 / 120.0);
  s = fma(s, y, -1.0 / 6.0);
  c = fma(c, y, -1.0 / 87178291200.0);
  c = fma(c, y, 1.0 / 479001600.0);
  c = fma(c, y, -1.0 / 3628800.0);
  c = fma(c, y, 1.0 / 40320.0);
  c = fma(c, y, -1.0 / 720.0);
  c = fma(c, y, 1.0 / 24.0);
  c = fma(c, y, -0.5);
  const double sine = fma(s * y, x, x), cosine = fma(c, y, 1.0);
  return {select(late, cosine, sine), select(late, sine, cosine)};
}

KAC_FN Jet linear_signal(double t, double T) { return {1.0 - t / T, 0.0 * t - 1.0 / T}; }

KAC_FN Jet exponential_signal(double t) {
  const double f = exponential(t);
  return {f, -f};
}

KAC_FN Jet cosine_signal(double t, double T) {
  const Quarter q = quarter(t / T);
  return {q.cosine, -0x1.921fb54442d18p+0 / T * q.sine};
}

KAC_FN Jet lambda_signal(double t, double T) {
  const double scale = 0x1.78b56362cef38p-2;  // e^-1
  const Quarter q = quarter(t / T);
  const double sum = fma(scale, q.cosine, q.sine);
  return {scale * q.cosine / sum, -0x1.921fb54442d18p+0 / T * scale / (sum * sum)};
}

KAC_FN Jet square_clock(double t, double T) { return {t * (t / T), 2.0 * (t / T)}; }

/// The signal of that number; {t, slope} where its values were given.
KAC_FN Jet signal(int64 kind, double t, double T, double slope) {
  const double time = time_within(t, T);
  switch (kind) {
    case kConstantSignal: return {1.0 + 0.0 * time, 0.0 * time};
    case kLinearSignal: return linear_signal(time, T);
    case kExponentialSignal: return exponential_signal(time);
    case kCosineSignal: return cosine_signal(time, T);
    case kLambdaSignal: return lambda_signal(time, T);
    default: return {t, slope};
  }
}

/// The clock of that number; {t, slope} where its values were given.
KAC_FN Jet clock(int64 kind, double t, double T, double slope) {
  const double time = time_within(t, T);
  switch (kind) {
    case kLinearClock: return {time, 1.0 + 0.0 * time};
    case kSquareClock: return square_clock(time, T);
    default: return {t, slope};
  }
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_SCHEDULES_H_
