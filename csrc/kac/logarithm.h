// Logarithm and exponential of the sampler, branch-free and accurate near 1 and 0, in the same
// arithmetic on every device (a library's logf differs from machine to machine).
#ifndef KAC_LOGARITHM_H_
#define KAC_LOGARITHM_H_

#include "coefficients.h"
#include "config.h"

namespace kac {
inline namespace KAC_LEVEL {

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
  const float r = fma(p, scale, fma(s, scale, -1.0f));
  return fma(k, 0x1.62e43p-1f, fma(r * r, log1p_tail(r), fma(k, -0x1.05c61p-29f, r)));
}

KAC_FN double log_sum(double s, double p) {
  const uint64 biased = (to_bits(s + p) - 0x3fe5555555555555ull + 0x3ff0000000000000ull) >> 52;
  const double scale = from_bits((2046ull - biased) << 52);
  const double k = from_bits(0x4330000000000000ull | biased) - 4503599627371519.0;
  const double r = fma(p, scale, fma(s, scale, -1.0));
  return fma(k, 0x1.62e42fefa39efp-1, fma(r * r, log1p_tail(r), fma(k, 0x1.abc9e3b39803fp-56, r)));
}

/// e^-x and 1 - e^-x together, for x = high + low >= 0 with |low| below an ulp of high, each within
/// 2 ulp; beyond x = 700 e^-x is taken at 700 (1e-304), which no probability can tell from 0.
struct Decay {
  double exp;        ///< e^-x
  double one_minus;  ///< 1 - e^-x
};

KAC_FN Decay decay(double high, double low) {
  const double y = smaller(high, 700.0);
  const double k = floor(fma(y, 0x1.71547652b82fep+0, 0.5));  // y / ln 2, to nearest
  const double r = fma(k, 0x1.abc9e3b39803fp-56, product_minus(k, 0x1.62e42fefa39efp-1, y)) - low;
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
