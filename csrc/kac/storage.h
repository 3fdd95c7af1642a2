// Storage formats of data: float and double as they are, bfloat16 and float16 as 16-bit integers
// that are widened to float, computed with and rounded to nearest even.  Integer arithmetic only
// (and one exact float addition), so loops vectorise without hardware support for the formats and
// the process's denormal mode does not matter.
#ifndef KAC_STORAGE_H_
#define KAC_STORAGE_H_

#include "config.h"

namespace kac {
inline namespace KAC_LEVEL {

struct bfloat16 {
  uint16 bits;
};
struct float16 {
  uint16 bits;
};

/// The type a storage format computes in.
template <class Stored>
struct WorkingOf {
  using type = float;
};
template <>
struct WorkingOf<double> {
  using type = double;
};
template <class Stored>
using Working = typename WorkingOf<Stored>::type;

KAC_FN float widen(float x) { return x; }
KAC_FN double widen(double x) { return x; }

KAC_FN float widen(bfloat16 x) { return from_bits(static_cast<uint32>(x.bits) << 16); }

KAC_FN float widen(float16 x) {
  const uint32 sign = (x.bits & 0x8000u) << 16;
  const uint32 rest = x.bits & 0x7fffu;
  const uint32 normal = (rest << 13) + 0x38000000u;  // exponent bias 15 -> 127
  const uint32 special = (rest << 13) | 0x7f800000u;
  const uint32 tiny = to_bits(from_bits((rest << 13) + 0x38800000u) - from_bits(0x38800000u));
  const uint32 magnitude = select(rest >= 0x7c00u, special, select(rest < 0x400u, tiny, normal));
  return from_bits(sign | magnitude);
}

template <class Stored>
struct Narrow;
template <>
struct Narrow<float> {
  static KAC_FN float of(float x) { return x; }
};
template <>
struct Narrow<double> {
  static KAC_FN double of(double x) { return x; }
};
template <>
struct Narrow<bfloat16> {
  static KAC_FN bfloat16 of(float x) {
    const uint32 u = to_bits(x);
    const uint32 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const uint32 quiet = (u >> 16) | 0x40u;
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    return {static_cast<uint16>(select(nan, quiet, rounded))};
  }
};
template <>
struct Narrow<float16> {
  static KAC_FN float16 of(float x) {
    const uint32 u = to_bits(x);
    const uint32 sign = (u >> 16) & 0x8000u;
    const uint32 rest = u & 0x7fffffffu;
    const uint32 normal = (rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13;
    // Below 2^-14 the spacing is 2^-24: adding 1/2 leaves the rounded multiple in the low bits.
    const uint32 tiny = to_bits(from_bits(rest) + 0.5f) - 0x3f000000u;
    const uint32 big = select(rest > 0x7f800000u, 0x7e00u, 0x7c00u);
    const uint32 magnitude =
        select(rest >= 0x477ff000u, big, select(rest < 0x38800000u, tiny, normal));
    return {static_cast<uint16>(sign | magnitude)};
  }
};

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_STORAGE_H_
