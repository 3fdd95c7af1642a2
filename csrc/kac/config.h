// What every header of csrc/kac needs from the compiler: function qualifiers, fixed-width
// integers, fused multiply-add, square root, bit casts.  Compiles with g++, clang++, MSVC, nvcc and
// NVRTC; includes no library header when the compiler is NVRTC.
#ifndef KAC_CONFIG_H_
#define KAC_CONFIG_H_

#if !defined(__CUDACC_RTC__)
#include <cmath>
#include <cstring>
#endif

// Infinities, NaN, signed zeros and the order of additions matter.  setup.py takes these flags back
// where it can; where they stand behind its own, as in a compiler wrapper, nothing is built.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||                     \
    defined(__NO_SIGNED_ZEROS__) || defined(_M_FP_FAST)
#error "kacflow computes wrong results with -ffast-math, -Ofast, /fp:fast or parts of them"
#endif

namespace kac {
static_assert(0.1 != 0.1f, "kacflow computes wrong results with -fsingle-precision-constant");

// Spelled out because NVRTC has no <cstdint>, and the same types on every compiler.
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned int;
using int64 = long long;
using uint64 = unsigned long long;
static_assert(sizeof(uint16) == 2 && sizeof(uint32) == 4 && sizeof(uint64) == 8, "integer widths");
}  // namespace kac

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define KAC_FN __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define KAC_FN __forceinline
#else
#define KAC_FN inline __attribute__((always_inline))
#endif

/// Before a short loop over a thread's elements: on a GPU its arrays then live in registers.
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define KAC_UNROLL _Pragma("unroll")
#else
#define KAC_UNROLL
#endif

// The same text is compiled once per SIMD level into one library.  An inline namespace per level
// keeps the linker from merging, say, the AVX-512 copy of a function into the baseline loop.
#ifndef KAC_LEVEL
#define KAC_LEVEL generic
#endif

// 1 where fma(a, b, c) is one instruction.
#if defined(__CUDA_ARCH__) || defined(__FMA__) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA)
#define KAC_HARDWARE_FMA 1
#else
#define KAC_HARDWARE_FMA 0
#endif

namespace kac {
inline namespace KAC_LEVEL {

/// a b + c, in one rounding where the hardware has the instruction and in two elsewhere.  Where the
/// single rounding matters call product_minus, which has it everywhere.
KAC_FN float fma(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#elif KAC_HARDWARE_FMA
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

KAC_FN double fma(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(a, b, c);
#elif KAC_HARDWARE_FMA
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

#if defined(__CUDACC_RTC__)
KAC_FN float sqrt(float x) { return __fsqrt_rn(x); }
KAC_FN double sqrt(double x) { return __dsqrt_rn(x); }
KAC_FN float abs(float x) { return ::fabsf(x); }
KAC_FN double abs(double x) { return ::fabs(x); }
KAC_FN double floor(double x) { return ::floor(x); }
#else
KAC_FN float sqrt(float x) { return std::sqrt(x); }
KAC_FN double sqrt(double x) { return std::sqrt(x); }
KAC_FN float abs(float x) { return std::fabs(x); }
KAC_FN double abs(double x) { return std::fabs(x); }
KAC_FN double floor(double x) { return std::floor(x); }
#endif

/// The 64-bit product of two 32-bit numbers.
KAC_FN uint64 wide_product(uint32 a, uint32 b) {
#if defined(__CUDA_ARCH__)
  uint64 product;  // one instruction; from the widened product the compiler makes two
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
  return product;
#else
  return static_cast<uint64>(a) * b;
#endif
}

/// The bits of a number and back.
#if defined(__CUDA_ARCH__)
KAC_FN uint32 to_bits(float x) { return __float_as_uint(x); }
KAC_FN float from_bits(uint32 u) { return __uint_as_float(u); }
KAC_FN uint64 to_bits(double x) { return static_cast<uint64>(__double_as_longlong(x)); }
KAC_FN double from_bits(uint64 u) { return __longlong_as_double(static_cast<int64>(u)); }
#else
KAC_FN uint32 to_bits(float x) {
  uint32 u;
  memcpy(&u, &x, sizeof u);
  return u;
}
KAC_FN float from_bits(uint32 u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}
KAC_FN uint64 to_bits(double x) {
  uint64 u;
  memcpy(&u, &x, sizeof u);
  return u;
}
KAC_FN double from_bits(uint64 u) {
  double x;
  memcpy(&x, &u, sizeof x);
  return x;
}
#endif

KAC_FN float infinity(float) { return from_bits(0x7f800000u); }
KAC_FN double infinity(double) { return from_bits(0x7ff0000000000000ull); }
KAC_FN float quiet_nan(float) { return from_bits(0x7fc00000u); }
KAC_FN double quiet_nan(double) { return from_bits(0x7ff8000000000000ull); }
KAC_FN float least_normal(float) { return 0x1p-126f; }
KAC_FN double least_normal(double) { return 0x1p-1022; }

/// `yes` if the condition holds, else `no`; both are evaluated, so loops stay free of branches.
template <class T>
KAC_FN T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}

/// |x| with the sign of s.
KAC_FN float with_sign(float x, float s) {
  return from_bits((to_bits(x) & 0x7fffffffu) | (to_bits(s) & 0x80000000u));
}
KAC_FN double with_sign(double x, double s) {
  return from_bits((to_bits(x) & 0x7fffffffffffffffull) | (to_bits(s) & 0x8000000000000000ull));
}

/// The larger and the smaller of two numbers; the second if either is NaN.
template <class T>
KAC_FN T larger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
KAC_FN T smaller(T a, T b) {
  return a < b ? a : b;
}

/// x >= 0 to the nearest number of 26 bits, so that x less it has as many; at most the largest one.
KAC_FN double upper_half(double x) {
  const double rounded = from_bits((to_bits(x) + 0x4000000ull) & ~0x7ffffffull);
  return smaller(rounded, 0x1.ffffff8p+1023);
}

/// a b - c with the product exact.  Without a hardware fma, float goes through double (the product
/// of two floats is exact there) and double, for a, b >= 0, through Dekker's product (Numer. Math.
/// 18, 1971) of halves that are rounded in the bits, where the usual multiplication overflows.
KAC_FN float product_minus(float a, float b, float c) {
#if KAC_HARDWARE_FMA
  return fma(a, b, -c);
#else
  return static_cast<float>(static_cast<double>(a) * b - c);
#endif
}

KAC_FN double product_minus(double a, double b, double c) {
#if KAC_HARDWARE_FMA
  return fma(a, b, -c);
#else
  const double a_hi = upper_half(a), b_hi = upper_half(b);
  const double a_lo = a - a_hi, b_lo = b - b_hi;
  const double p = a * b;
  const double error = ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo;
  return (p - c) + error;
#endif
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_CONFIG_H_
