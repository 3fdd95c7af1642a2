// Philox words of a block of consecutive counters, structure of arrays: kac::philox of each, bit
// for bit, laid out by hand where the processor has a 32 x 32 -> 64 bit vector multiplication.
//
// Each counter word lives in the low half of a 64-bit lane, even and odd counters in vectors of
// their own.  The multiplication ignores the high halves, so a round is two multiplications, two
// shifts and the exclusive ors, and nothing is moved between lanes until the words are joined at
// the end.  A round waits for the one before it, so several vectors go through it side by side.  (A
// compiler that vectorises the plain loop shuffles in every round: over twice the time with AVX2,
// see benchmarks/README.md.)  The intrinsics are always inlined, so this header keeps the rule of
// kernels_level.h.
#ifndef KACFLOW_NATIVE_LEVEL_WORDS_H_
#define KACFLOW_NATIVE_LEVEL_WORDS_H_

#include "../kac/philox.h"

#if defined(__SSE2__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own AVX-512 header
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

namespace kacflow {
namespace {

using kac::uint32;
using kac::uint64;

// Vectors of 64-bit lanes at this level.
#if defined(__AVX512F__)
struct Lanes {
  using Vector = __m512i;
  static constexpr int kCount = 8;   ///< 64-bit lanes
  static constexpr int kStates = 4;  ///< vectors of counters at once, as many as registers hold
  static KAC_FN Vector load(const void* p) { return _mm512_loadu_si512(p); }
  static KAC_FN void store(void* p, Vector v) { _mm512_storeu_si512(p, v); }
  static KAC_FN Vector all(uint64 x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
  static KAC_FN Vector add(Vector a, Vector b) { return _mm512_add_epi64(a, b); }
  static KAC_FN Vector multiply(Vector a, Vector b) { return _mm512_mul_epu32(a, b); }
  static KAC_FN Vector high(Vector a) { return _mm512_srli_epi64(a, 32); }
  static KAC_FN Vector exclusive_or(Vector a, Vector b) { return _mm512_xor_si512(a, b); }
  static KAC_FN Vector exclusive_or(Vector a, Vector b, Vector c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
  }
  static KAC_FN Vector join(Vector even, Vector odd) {
    return _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
  }
};
#elif defined(__AVX2__)
struct Lanes {
  using Vector = __m256i;
  static constexpr int kCount = 4;
  static constexpr int kStates = 2;
  static KAC_FN Vector load(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static KAC_FN void store(void* p, Vector v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static KAC_FN Vector all(uint64 x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
  static KAC_FN Vector add(Vector a, Vector b) { return _mm256_add_epi64(a, b); }
  static KAC_FN Vector multiply(Vector a, Vector b) { return _mm256_mul_epu32(a, b); }
  static KAC_FN Vector high(Vector a) { return _mm256_srli_epi64(a, 32); }
  static KAC_FN Vector exclusive_or(Vector a, Vector b) { return _mm256_xor_si256(a, b); }
  static KAC_FN Vector exclusive_or(Vector a, Vector b, Vector c) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
  }
  static KAC_FN Vector join(Vector even, Vector odd) {
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  }
};
#elif defined(__SSE2__)
struct Lanes {
  using Vector = __m128i;
  static constexpr int kCount = 2;
  static constexpr int kStates = 2;
  static KAC_FN Vector load(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static KAC_FN void store(void* p, Vector v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
  static KAC_FN Vector all(uint64 x) { return _mm_set1_epi64x(static_cast<long long>(x)); }
  static KAC_FN Vector add(Vector a, Vector b) { return _mm_add_epi64(a, b); }
  static KAC_FN Vector multiply(Vector a, Vector b) { return _mm_mul_epu32(a, b); }
  static KAC_FN Vector high(Vector a) { return _mm_srli_epi64(a, 32); }
  static KAC_FN Vector exclusive_or(Vector a, Vector b) { return _mm_xor_si128(a, b); }
  static KAC_FN Vector exclusive_or(Vector a, Vector b, Vector c) {
    return _mm_xor_si128(_mm_xor_si128(a, b), c);
  }
  static KAC_FN Vector join(Vector even, Vector odd) {
    const Vector low = _mm_and_si128(even, all(0xffffffffull));
    return _mm_or_si128(low, _mm_slli_epi64(odd, 32));
  }
};
#endif

/// Words of counters one by one.
template <int kCount>
void philox_words_plain(uint64 seed, uint64 first, uint32 block, uint32 stream, uint32* w0,
                        uint32* w1, uint32* w2, uint32* w3) {
  for (int l = 0; l < kCount; ++l) {
    const kac::Words w = kac::philox(seed, first + static_cast<uint64>(l), block, stream);
    w0[l] = w.w0;
    w1[l] = w.w1;
    w2[l] = w.w2;
    if (w3) w3[l] = w.w3;
  }
}

#if defined(__SSE2__)

// The published multipliers and steps of the key, as in kac/philox.h.
constexpr uint32 kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32 kStep0 = 0x9E3779B9u, kStep1 = 0xBB67AE85u;

/// What the first two rounds of counters i that share i >> 32 have in common, where words 2 and 3
/// are the same for all: only c2 and c3 after the first round, and c0 and c1 after the second,
/// differ between them.
struct CommonRounds {
  uint32 c2_mask;  ///< c2 after round 1 is high(M0 i) ^ c2_mask, and c3 is low(M0 i)
  uint32 c0_mask;  ///< c0 after round 2 is high(M1 c2) ^ c0_mask, and c1 is low(M1 c2)
  uint32 c3_mask;  ///< c2 after round 2 is c3 ^ c3_mask
  uint32 c3;       ///< after round 2

  KAC_FN CommonRounds(uint64 seed, uint64 first, uint32 block, uint32 stream) {
    const uint32 k0 = static_cast<uint32>(seed), k1 = static_cast<uint32>(seed >> 32);
    const uint64 p1 = static_cast<uint64>(kMultiplier1) * block;
    const uint32 c0 = static_cast<uint32>(p1 >> 32) ^ static_cast<uint32>(first >> 32) ^ k0;
    const uint64 p0 = static_cast<uint64>(kMultiplier0) * c0;
    c2_mask = stream ^ k1;
    c0_mask = static_cast<uint32>(p1) ^ (k0 + kStep0);
    c3_mask = static_cast<uint32>(p0 >> 32) ^ (k1 + kStep1);
    c3 = static_cast<uint32>(p0);
  }
};

/// The counter words of Lanes::kCount elements, in the low halves of the lanes.
struct LaneState {
  Lanes::Vector c0, c1, c2, c3;

  /// The state after two rounds.
  KAC_FN void begin(Lanes::Vector i, const CommonRounds& common) {
    const Lanes::Vector p0 = Lanes::multiply(Lanes::all(kMultiplier0), i);
    const Lanes::Vector first_c2 = Lanes::exclusive_or(Lanes::high(p0), Lanes::all(common.c2_mask));
    const Lanes::Vector p1 = Lanes::multiply(Lanes::all(kMultiplier1), first_c2);
    c0 = Lanes::exclusive_or(Lanes::high(p1), Lanes::all(common.c0_mask));
    c1 = p1;
    c2 = Lanes::exclusive_or(p0, Lanes::all(common.c3_mask));
    c3 = Lanes::all(common.c3);
  }
  KAC_FN void round(Lanes::Vector k0, Lanes::Vector k1) {
    const Lanes::Vector p0 = Lanes::multiply(Lanes::all(kMultiplier0), c0);
    const Lanes::Vector p1 = Lanes::multiply(Lanes::all(kMultiplier1), c2);
    c0 = Lanes::exclusive_or(Lanes::high(p1), c1, k0);
    c2 = Lanes::exclusive_or(Lanes::high(p0), c3, k1);
    c1 = p1;
    c3 = p0;
  }
};

/// Words 0, 1, 2, and 3 if `w3` is not null, of the counters first ... first + kCount - 1.
template <int kCount>
KAC_FN void philox_words(uint64 seed, uint64 first, uint32 block, uint32 stream, uint32* w0,
                         uint32* w1, uint32* w2, uint32* w3) {
  constexpr int kStates = kCount < Lanes::kStates * Lanes::kCount ? 2 : Lanes::kStates;
  constexpr int kStep = kStates * Lanes::kCount;
  static_assert(kCount % kStep == 0, "whole vectors");
  if (static_cast<uint32>(first) > 0xffffffffu - (kCount - 1)) {  // i >> 32 changes on the way
    philox_words_plain<kCount>(seed, first, block, stream, w0, w1, w2, w3);
    return;
  }
  static constexpr uint64 kEven[8] = {0, 2, 4, 6, 8, 10, 12, 14};
  const CommonRounds common(seed, first, block, stream);
  const Lanes::Vector steps = Lanes::load(kEven);
  for (int l = 0; l < kCount; l += kStep) {
    LaneState states[kStates];  // even and odd counters in turn
    for (int k = 0; k < kStates; ++k) {
      const int start = l + k / 2 * 2 * Lanes::kCount + k % 2;
      states[k].begin(Lanes::add(steps, Lanes::all(first + static_cast<uint64>(start))), common);
    }
    uint32 k0 = static_cast<uint32>(seed) + kStep0, k1 = static_cast<uint32>(seed >> 32) + kStep1;
    for (int round = 2; round < 10; ++round) {
      k0 += kStep0;
      k1 += kStep1;
      for (int k = 0; k < kStates; ++k) states[k].round(Lanes::all(k0), Lanes::all(k1));
    }
    for (int k = 0; k < kStates; k += 2) {
      const LaneState &even = states[k], &odd = states[k + 1];
      const int at = l + k * Lanes::kCount;
      Lanes::store(w0 + at, Lanes::join(even.c0, odd.c0));
      Lanes::store(w1 + at, Lanes::join(even.c1, odd.c1));
      Lanes::store(w2 + at, Lanes::join(even.c2, odd.c2));
      if (w3) Lanes::store(w3 + at, Lanes::join(even.c3, odd.c3));
    }
  }
}

#else

template <int kCount>
KAC_FN void philox_words(uint64 seed, uint64 first, uint32 block, uint32 stream, uint32* w0,
                         uint32* w1, uint32* w2, uint32* w3) {
  philox_words_plain<kCount>(seed, first, block, stream, w0, w1, w2, w3);
}

#endif

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_WORDS_H_
