// Logarithm and exponential of the sampler and of the law, branch-free and accurate near 1 and 0,
// in the same arithmetic on every device (a library's logf differs from machine to machine).
#ifndef KAC_LOGARITHM_H_
#define KAC_LOGARITHM_H_

#include "coefficients.h"
#include "config.h"

namespace kac {
inline namespace KAC_LEVEL {

/// k ln 2 + ln(1 + r) for an integer k and r in [-1/3, 1/3].
KAC_FN float log_of_parts(float k, float r) {
  return fma(k, 0x1.62e43p-1f, fma(r * r, log1p_tail(r), fma(k, -0x1.05c61p-29f, r)));
}
KAC_FN double log_of_parts(double k, double r) {
  return fma(k, 0x1.62e42fefa39efp-1, fma(r * r, log1p_tail(r), fma(k, 0x1.abc9e3b39803fp-56, r)));
}

/// ln(s + p) for 0 <= s <= 1 and 0 <= p, with 0 < s + p < 2^126 (float) or 2^1022 (double).
///
/// With 2^k the power of two that brings s + p into [2/3, 4/3), ln(s + p) = k ln 2 + ln(1 + r) and
/// r = (s + p) 2^-k - 1 comes from p directly, so that for s = 1 the result keeps its relative
/// accuracy down to the smallest p: ln(1 + p) -> p.  [2/3, 4/3) holds 1 well inside, so values just
/// below 1 do not switch to k = -1 and cancel.
KAC_FN float log_sum(float s, float p) {
  const uint32 biased = (to_bits(s + p) - 0x3f2aaaabu + 0x3f800000u) >> 23;  // k + 127
  const float scale = from_bits((254u - biased) << 23);                      // 2^-k
  const float k = from_bits(0x4b000000u | biased) - 8388735.0f;              // minus 2^23 + 127
  return log_of_parts(k, fma(p, scale, fma(s, scale, -1.0f)));
}

KAC_FN double log_sum(double s, double p) {
  const uint64 biased = (to_bits(s + p) - 0x3fe5555555555555ull + 0x3ff0000000000000ull) >> 52;
  const double scale = from_bits((2046ull - biased) << 52);
  const double k = from_bits(0x4330000000000000ull | biased) - 4503599627371519.0;
  return log_of_parts(k, fma(p, scale, fma(s, scale, -1.0)));
}

/// ln(p 2^n) for an integer |n| < 2^12 and 2^-126 <= p < 2^126 (float), 2^-1022 <= p < 2^1022
/// (double): the sum ln p + n ln 2 without its cancellation.
KAC_FN float log_scaled(float p, float n) {
  const uint32 biased = (to_bits(p) - 0x3f2aaaabu + 0x3f800000u) >> 23;  // as in log_sum
  const float scale = from_bits((254u - biased) << 23);
  const float k = from_bits(0x4b000000u | biased) - 8388735.0f;
  return log_of_parts(k + n, fma(p, scale, -1.0f));
}

KAC_FN double log_scaled(double p, double n) {
  const uint64 biased = (to_bits(p) - 0x3fe5555555555555ull + 0x3ff0000000000000ull) >> 52;
  const double scale = from_bits((2046ull - biased) << 52);
  const double k = from_bits(0x4330000000000000ull | biased) - 4503599627371519.0;
  return log_of_parts(k + n, fma(p, scale, -1.0));
}

/// 2^n for an integer n with |n| <= 126 (float), 1022 (double).  Adding 3/2 times the power of two
/// whose ulp is 1 leaves n in the low bits.
KAC_FN float power_of_two(float n) { return from_bits((to_bits(n + 0x1.8p23f) + 127u) << 23); }
KAC_FN double power_of_two(double n) { return from_bits((to_bits(n + 0x1.8p52) + 1023ull) << 52); }

/// To the nearest integer, |x| < 2^22 (float), 2^51 (double).
KAC_FN float nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
KAC_FN double nearest(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

/// e^-x = fraction 2^-k with |ln fraction| <= ln(2)/2, for |x| < 600 (float), 3000 (double).
template <class T>
struct ExponentialParts {
  T fraction, k;
};

KAC_FN ExponentialParts<float> exponential_parts(float x) {
  const float k = nearest(x * 0x1.715476p+0f);                        // x / ln 2
  const float r = fma(k, 0x1.7f7d1cp-20f, fma(k, 0x1.62e4p-1f, -x));  // k ln 2 - x
  return {1.0f + fma(r * r, expm1_tail(r), r), k};
}

KAC_FN ExponentialParts<double> exponential_parts(double x) {
  const double k = nearest(x * 0x1.71547652b82fep+0);
  const double r = fma(k, 0x1.a39ef35793c76p-33, fma(k, 0x1.62e42feep-1, -x));
  return {1.0 + fma(r * r, expm1_tail(r), r), k};
}

/// Where e^-x is a normal number whatever x, and e^-x 2^n is 0 whatever n.
template <class T>
struct ExponentialRange;
template <>
struct ExponentialRange<float> {
  static constexpr float normal = 87.0f, zero = 500.0f, power = 250.0f;
};
template <>
struct ExponentialRange<double> {
  static constexpr double normal = 700.0, zero = 3000.0, power = 2000.0;
};

/// e^-x for x >= 0 within 1 ulp; beyond x = 87 (float), 700 (double) it is taken there.
template <class T>
KAC_FN T exponential(T x) {
  const ExponentialParts<T> e = exponential_parts(smaller(ExponentialRange<T>::normal, x));
  return e.fraction * power_of_two(-e.k);
}

/// factor e^-x 2^n for x >= 0 and an integer n that is an exponent of T: infinite or denormal or 0
/// only where the product is.
template <class T>
KAC_FN T exponential_times(T x, T factor, T n) {
  using Range = ExponentialRange<T>;
  const ExponentialParts<T> e = exponential_parts(smaller(Range::zero, x));
  const T power = larger(smaller(n - e.k, Range::power), -Range::power);
  const T half = nearest(T(0.5) * power);
  return factor * e.fraction * power_of_two(half) * power_of_two(power - half);
}

/// e^-x and 1 - e^-x together, for x = high + low >= 0 with |low| below an ulp of high, each within
/// 2 ulp; beyond x = 700 e^-x is taken at 700 (1e-304), which no probability can tell from 0, and
/// without `low`, which grows with high.  NaN for NaN.
struct Decay {
  double exp;        ///< e^-x
  double one_minus;  ///< 1 - e^-x
};

KAC_FN Decay decay(double high, double low) {
  const double y = smaller(700.0, high), rest = select(high < 700.0, low, 0.0);
  const double k = floor(fma(y, 0x1.71547652b82fep+0, 0.5));  // y / ln 2, to nearest
  const double r = fma(k, 0x1.abc9e3b39803fp-56, product_minus(k, 0x1.62e42fefa39efp-1, y)) - rest;
  const double e = fma(r * r, expm1_tail(r), r);  // e^r - 1, -y = -k ln 2 + r
  const uint64 biased = to_bits(4503599627371519.0 - k) - 0x4330000000000000ull;  // 1023 - k
  const double scale = from_bits(biased << 52);                                   // 2^-k
  Decay d;
  d.exp = fma(scale, e, scale);
  d.one_minus = -fma(scale, e, scale - 1.0);
  return d;
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_LOGARITHM_H_
