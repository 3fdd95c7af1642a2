// The Kac process event by event: turning times as sums of exponential waiting times.
//
// Waiting time m is E_m/a with E_m = -ln u,
//
//   u = (2 n + 1) 2^-53   in [2^-53, 1 - 2^-53],   n = the top 52 of the 64 bits of two words,
//
// an exact dyadic rational, neither 0 nor 1: E_m lies in [2^-53, 53 ln 2 = 36.74], within 1.3 ulp
// (1e5 draws: waiting_time_ulp of scripts/measure_accuracy.py).  Turning times are
// t_m = t_(m-1) + E_m/a in this order, each operation rounded to double; they never decrease.
#ifndef KAC_EVENTS_H_
#define KAC_EVENTS_H_

#include "config.h"
#include "logarithm.h"
#include "philox.h"

namespace kac {
inline namespace KAC_LEVEL {

/// Stream of the turning times (philox.h).
constexpr uint32 kEventStream = 0xffffffffu;

/// +1 or -1: the direction in which path i starts.
KAC_FN double first_direction(uint64 seed, uint64 i) {
  const uint32 word = philox(seed, i, 0, kEventStream).w0;
  return from_bits(0x3ff0000000000000ull | (static_cast<uint64>(~word & 0x80000000u) << 32));
}

/// The words of waiting times 2 k and 2 k + 1 of path i.
KAC_FN Words waiting_words(uint64 seed, uint64 i, uint32 k) {
  return philox(seed, i, 1 + k, kEventStream);
}

/// E = -ln u of two words.
KAC_FN double exponential(uint32 high, uint32 low) {
  const uint64 n = (static_cast<uint64>(high) << 20) | (low >> 12);
  const double u = from_bits(0x3ff0000000000000ull | n) - (1.0 - 0x1p-53);
  return -log_sum(0.0, u);
}

/// Waiting times 2 k and 2 k + 1 in units of 1/a, from their words.
KAC_FN double even_wait(const Words& w) { return exponential(w.w0, w.w1); }
KAC_FN double odd_wait(const Words& w) { return exponential(w.w2, w.w3); }

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_EVENTS_H_
