// Raw words to uniform numbers.
//
// Every uniform is an exact dyadic rational strictly inside (0, 1), symmetric about 1/2:
//
//   float    u0 = (w0 + 1/2) 2^-32            in [2^-33, 1 - 2^-33]
//            u1 = ((w1 >> 1) + 1/2) 2^-31     in [2^-32, 1 - 2^-32]
//            u2 = (w2 + 1/2) 2^-32            in [2^-33, 1 - 2^-33]
//            u3 = ((w3 >> 1) + 1/2) 2^-31     in [2^-32, 1 - 2^-32]
//   double   u0 = (2^32 w0 + v0 + 1/2) 2^-64
//            u1 = (2^31 (w1 >> 1) + (v1 >> 1) + 1/2) 2^-62    in [2^-63, 1 - 2^-63]
//            u2 = (2^32 w2 + v2 + 1/2) 2^-64
//            u3 = (2^31 (w3 >> 1) + (v3 >> 1) + 1/2) 2^-62    in [2^-63, 1 - 2^-63]
//
// u0 is only ever compared as an integer, u1 is carried as the pair (u1, 1 - u1), each within half
// an ulp of its exact value, and u2 enters through the angle of half_angle_sine2, computed from the
// signed distance to the nearest half turn.  u3, the direction of a path, is compared with a
// probability <= 1/2 and rounded to within half an ulp, which moves that probability by 2^-25 or
// 2^-54 of itself.
#ifndef KAC_UNIFORM_H_
#define KAC_UNIFORM_H_

#include "coefficients.h"
#include "config.h"
#include "philox.h"

namespace kac {
inline namespace KAC_LEVEL {

/// The integer that u0 is read from: 32 bits in float, 64 in double.
template <class T>
struct WordOf;
template <>
struct WordOf<float> {
  using type = uint32;
};
template <>
struct WordOf<double> {
  using type = uint64;
};
template <class T>
using Word = typename WordOf<T>::type;

/// The random part of one element, before any parameter is known.
template <class T>
struct Draw {
  Word<T> w0;     ///< decides the case, and the turn count within it
  T u1;           ///< radius, in (0, 1]: may round to 1, so 1 - u1 is carried beside it
  T one_less_u1;  ///< 1 - u1 > 0
  T h;            ///< sin^2(phi/2) in (0, 1/2], where 2 pi u2 = phi + pi k, |phi| < pi/2
  T direction;    ///< +1 or -1: the sign of cos(2 pi u2) = (-1)^k
};

/// sin^2(pi v / 2) for |v| <= 1/2: v^2 times a polynomial, so its relative error is that of two
/// roundings plus the polynomial's.
template <class T>
KAC_FN T half_angle_sine2(T v) {
  const T t = v * v;
  return t * sin2_ratio(t);
}

/// ((w >> 1) + 1/2) 2^-31.
KAC_FN float open_uniform(uint32 w) {
  return fma(static_cast<float>(static_cast<int32>(w >> 1)), 0x1p-31f, 0x1p-32f);
}

/// (2^31 (w >> 1) + (v >> 1) + 1/2) 2^-62.
KAC_FN double open_uniform(uint32 w, uint32 v) {
  const int32 high = static_cast<int32>(w >> 1), low = static_cast<int32>(v >> 1);
  return fma(static_cast<double>(high), 0x1p-31, fma(static_cast<double>(low), 0x1p-62, 0x1p-63));
}

KAC_FN Draw<float> draw(const Words& w) {
  const int32 radius = static_cast<int32>(w.w1 >> 1);
  const int32 turn = static_cast<int32>((w.w2 << 1) | 1u);  // 2 w2 + 1 modulo 2^32, signed
  Draw<float> d;
  d.w0 = w.w0;
  d.u1 = open_uniform(w.w1);
  d.one_less_u1 = fma(static_cast<float>(0x7fffffff - radius), 0x1p-31f, 0x1p-32f);
  d.h = half_angle_sine2(static_cast<float>(turn) * 0x1p-32f);
  d.direction = from_bits(0x3f800000u | ((w.w2 + 0x40000000u) & 0x80000000u));
  return d;
}

/// `v` are the low halves: the words of block 1.
KAC_FN Draw<double> draw(const Words& w, const Words& v) {
  const int32 high = static_cast<int32>(w.w1 >> 1), low = static_cast<int32>(v.w1 >> 1);
  // 2 W2 + 1 modulo 2^64 as a signed 64-bit number, in two halves that convert exactly.
  const int32 turn_high = static_cast<int32>((w.w2 << 1) | (v.w2 >> 31));
  const uint32 turn_low = (v.w2 << 1) | 1u;
  const double turn_low_real = from_bits(0x4330000000000000ull | turn_low) - 0x1p52;
  Draw<double> d;
  d.w0 = (static_cast<uint64>(w.w0) << 32) | v.w0;
  d.u1 = open_uniform(w.w1, v.w1);
  d.one_less_u1 = fma(static_cast<double>(0x7fffffff - high), 0x1p-31,
                      fma(static_cast<double>(0x7fffffff - low), 0x1p-62, 0x1p-63));
  d.h = half_angle_sine2(fma(static_cast<double>(turn_high), 0x1p-32, turn_low_real * 0x1p-64));
  d.direction = from_bits(0x3ff0000000000000ull |
                          (static_cast<uint64>((w.w2 + 0x40000000u) & 0x80000000u) << 32));
  return d;
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_UNIFORM_H_
