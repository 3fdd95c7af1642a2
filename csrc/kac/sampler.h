// The law of K(t) as a closed-form map from three uniforms: exact, with no table, no loop over
// turns, no rejection and no branch.
//
// With tau = a t and xi = K(t)/(c t), given N = n >= 1 turns and k = ceil(n/2), xi has density
// proportional to (1 - xi^2)^(k-1) (for even n averaged over the random first direction), so
// xi = sqrt(1 - S^2) cos(2 pi u2) with S = U^(1/(2k-1)).  Summed over n the law of S is elementary:
//
//   u0 in the first interval, of length e^-tau:        atom, xi = +-1
//   u0 in the next, of length P(N odd):                tau' = tau
//   u0 in the last, N even >= 2, w its position there: cosh tau' = 1 + w (cosh tau - 1)
//   sinh(tau' S) = u1 sinh tau'
//
// The odd case is the even case at w = 1.  As tau -> 0, S -> u1 and xi is uniform (Archimedes); as
// tau -> infinity, 1 - S^2 -> -2 ln(u1)/tau and the map is the Box-Muller transform.
//
// Evaluation.  Everything is scaled by s = 1 while tau <= tau_scaled() and by s = e^-tau above, so
// that nothing overflows; m = -ln s.  With D = s (cosh tau' - 1), A = D + s, B = s sinh tau',
// X = u1 B = s sinh(tau' S), Q = s cosh(tau' S), R = X + Q:
//
//   tau'        = m + ln(A + B)
//   tau' (1-S)  = ln((A + B)/R) = ln(1 + B (1 - u1) (A + B + R) / ((A + Q) R))     used if S >= 1/2
//   tau' S      = ln(R/s)       = ln(1 + (X/s) (R + s) / (Q + s))                  used if S <  1/2
//
// All terms are positive: nothing cancels, S and 1 - S both keep their relative accuracy.
//
// Measured: largest |error of xi| / min(1, tau^-1/2) against the map in 40 digits on the same
// uniforms, tau from 1e-9 to 1e7, 1e5 points (scripts/measure_accuracy.py, tests/core compares):
//
//   sampler_scaled_error      float32 5.5e-07   float64 1.1e-15
#ifndef KAC_SAMPLER_H_
#define KAC_SAMPLER_H_

#include "config.h"
#include "logarithm.h"
#include "near.h"
#include "uniform.h"

namespace kac {
inline namespace KAC_LEVEL {

/// Largest tau at which cosh tau is used unscaled: its square must not overflow.  Above it S < 1/2
/// is next to impossible (u1 >= 2^-32 or 2^-63 needs tau' < 46 or 88), so m + ln(...) hardly
/// cancels.
template <class T>
struct Range;
template <>
struct Range<float> {
  static constexpr double tau_scaled = 40.0;
  static constexpr double tau_least =
      1e-8;                               // S differs from its limit u1 by O(tau^2): below an ulp
  static constexpr double tail = 3.0e38;  // stands for an overflowed 1/s, where it is not used
};
template <>
struct Range<double> {
  static constexpr double tau_scaled = 300.0;
  static constexpr double tau_least = 1e-12;
  static constexpr double tail = 1.0e300;
};

/// What the map needs of tau, computed once per sample in double precision.
template <class T>
struct MapConstants {
  Word<T> last_atom;  ///< atom if and only if (w0 | never) <= last_atom
  Word<T> never;      ///< 1 if no word is an atom (e^-tau below half a unit of u0), else 0
  Word<T> last_odd;   ///< even number of turns >= 2 if and only if w0 > last_odd
  T inverse_even;     ///< 1 / (number of words of the even case), 0 if there is none
  T d_max;            ///< s (cosh tau - 1)
  T s;                ///< the scale: 1 or e^-tau, 0 where that is subnormal
  T inverse_s;        ///< 1/s
  T m;                ///< -ln s: 0 or tau
};

/// Number of words out of 2^32 (float) or 2^64 (double) that a probability <= 1/2 stands for, to
/// nearest.
KAC_FN uint32 word_count(double probability, float) {
  return static_cast<uint32>(to_bits(fma(probability, 0x1p32, 0x1p52)));
}
KAC_FN uint64 word_count(double probability, double) {
  const double words = probability * 0x1p64;  // exact; an integer from 2^52 on
  return static_cast<uint64>(select(words < 0x1p52, words + 0.5, words));
}

/// Thresholds are counted from whichever end of the interval is nearer, so that each is right to
/// half a word or 2^-53 of its distance from that end: with q = e^-tau and p = 1 - q,
///   first turned word = B q           = B - B p
///   first even word   = B/2 + B q (1 - q/2) = B - B p^2/2.
///
/// tau = a t as an exact product of two numbers, since e^-tau amplifies its rounding by tau.
template <class T>
KAC_FN MapConstants<T> map_constants(double a, double t) {
  const Word<T> half = Word<T>(1) << (8 * sizeof(T) - 1);
  const double tau = a * t;
  const Decay decayed = decay(tau, product_minus(a, t, tau));
  const double q = decayed.exp, p = decayed.one_minus;
  const bool late = q < 0.5;
  const Word<T> turned = word_count(select(late, q, p), T(0));
  const Word<T> counted = word_count(select(late, q * (1.0 - 0.5 * q), 0.5 * p * p), T(0));
  const Word<T> above_half = larger(counted, Word<T>(1));  // late: first even word, minus B/2
  const Word<T> n_even = select(late, static_cast<Word<T>>(half - above_half), counted);
  const double least = larger(p, Range<T>::tau_least);
  const double square = 0.5 * least * least;
  const bool scaled = tau > Range<T>::tau_scaled;
  const double s = select(scaled, q, 1.0);
  MapConstants<T> k;
  k.never = late && turned == 0 ? 1 : 0;
  k.last_atom =
      select(late, static_cast<Word<T>>(turned - 1 + k.never), static_cast<Word<T>>(~turned));
  k.last_odd = static_cast<Word<T>>(~n_even);
  k.inverse_even = static_cast<T>(select(n_even > 0, 1.0 / static_cast<double>(n_even), 0.0));
  k.d_max = static_cast<T>(select(scaled, square, square / q));
  // A subnormal s is lost in every sum that it enters, and would make roots and divisions slow:
  // with a t from 87 to 103 a float32 draw took 1.4 times as long.
  k.s = static_cast<T>(select(s < static_cast<double>(least_normal(T(0))), 0.0, s));
  k.inverse_s = static_cast<T>(smaller(1.0 / s, Range<T>::tail));
  k.m = static_cast<T>(select(scaled, tau, 0.0));
  return k;
}

/// A draw of xi = K(t)/(c t).
template <class T>
struct Endpoint {
  T xi;             ///< in [-1, 1]; +-1 exactly on the atoms
  T one_minus_xi2;  ///< 1 - xi^2 to a few ulp; 0 on the atoms
  Word<T> atom;     ///< 1 if there was no turn, else 0 (as wide as T, so that loops vectorise)
};

/// Position of an even-case word in its interval, in (0, 1].
KAC_FN float even_position(uint32 j, float inverse_even) {  // j in [1, 2^31): converts as signed
  return (static_cast<float>(static_cast<int32>(j)) - 0.5f) * inverse_even;
}
KAC_FN double even_position(uint64 j, double inverse_even) {
  const double high = from_bits(0x4330000000000000ull | (j >> 32)) - 0x1p52;
  const double low = from_bits(0x4330000000000000ull | (j & 0xffffffffull)) - 0x1p52;
  return fma(high, 0x1p32, low - 0.5) * inverse_even;
}

/// Whether the case word stands for an odd number of turns: it is one of the n_odd words that
/// follow those of the atoms, taken modulo the number of words.
template <class T>
KAC_FN bool turned_oddly(const MapConstants<T>& k, Word<T> w0) {
  const Word<T> n_odd = k.last_odd - k.last_atom + k.never;
  return static_cast<Word<T>>(w0 - k.last_atom - 1 + k.never) < n_odd;
}

/// What S is computed from: D + B, and in its shorter part ln(1 + ratio) = tau' S if S < 1/2 (low),
/// else tau' (1 - S).
template <class T>
struct Radius {
  T sum, ratio;
  bool low;

  static KAC_FN Radius of(T sum, T ratio, bool low) { return {sum, ratio, low}; }
};

/// `Result` is what Result::of makes of the three: a loop with a bool in memory does not vectorise.
template <class Result, class T>
KAC_FN Result radius(const MapConstants<T>& k, const Draw<T>& u) {
  const bool even = u.w0 > k.last_odd;
  const T position = even_position(static_cast<Word<T>>(u.w0 - k.last_odd), k.inverse_even);
  const T w = select(even, position, T(1));

  const T d = w * k.d_max;
  const T b = near_sqrt(d * (d + T(2) * k.s));
  const T a = d + k.s;
  const T e = a + b;
  const T x = u.u1 * b;
  const T q = near_sqrt(fma(x, x, k.s * k.s));
  const T r = x + q;

  const bool low = r * r < e * k.s;  // S < 1/2
  const T num = select(low, (x * k.inverse_s) * (r + k.s), (b * u.one_less_u1) * (e + r));
  const T den = select(low, q + k.s, (a + q) * r);
  return Result::of(d + b, near_quotient(num, den), low);
}

/// The smaller of S and 1 - S.
template <class T>
KAC_FN T smaller_part(const MapConstants<T>& k, T sum, T ratio) {
  const T tau_prime = k.m + near_log_sum(k.s, sum);
  return near_quotient(near_log_sum(T(1), ratio), tau_prime);
}

/// The endpoint from that part, which is S if `low`.
template <class T>
KAC_FN Endpoint<T> endpoint_of_part(const MapConstants<T>& k, const Draw<T>& u, T part, bool low) {
  const bool atom = (u.w0 | k.never) <= k.last_atom;
  const T big_s = select(low, part, T(1) - part);
  const T less_s = select(low, T(1) - part, part);

  const T rho2 = less_s * (T(1) + big_s);  // 1 - S^2
  const T cosine = fma(T(-2), u.h, T(1));
  const T sine2 = T(4) * u.h * (T(1) - u.h);
  Endpoint<T> p;
  p.atom = atom ? 1 : 0;
  p.xi = with_sign(select(atom, T(1), near_unit_sqrt(rho2) * cosine), u.direction);
  p.one_minus_xi2 = select(atom, T(0), fma(big_s, big_s, rho2 * sine2));
  return p;
}

template <class T>
KAC_FN Endpoint<T> endpoint(const MapConstants<T>& k, const Draw<T>& u) {
  const Radius<T> r = radius<Radius<T>>(k, u);
  return endpoint_of_part(k, u, smaller_part(k, r.sum, r.ratio), r.low);
}

// The same map in three steps: a loop over a block runs each over the whole block, since the roots
// and divisions of one element form a chain that is much longer than what a processor looks ahead.
// Between the steps a minus sign says that S < 1/2, so that only numbers are kept.

template <class T>
struct RadiusTerms {
  T sum, ratio;

  static KAC_FN RadiusTerms of(T sum, T ratio, bool low) {
    return {sum, select(low, -ratio, ratio)};
  }
};

/// First step.
template <class T>
KAC_FN RadiusTerms<T> radius_terms(const MapConstants<T>& k, const Draw<T>& u) {
  return radius<RadiusTerms<T>>(k, u);
}

/// Second step.
template <class T>
KAC_FN T radius_part(const MapConstants<T>& k, const RadiusTerms<T>& terms) {
  return with_sign(smaller_part(k, terms.sum, abs(terms.ratio)), terms.ratio);
}

/// Third step.
template <class T>
KAC_FN Endpoint<T> endpoint_at(const MapConstants<T>& k, const Draw<T>& u, T signed_part) {
  return endpoint_of_part(k, u, abs(signed_part), signed_part < T(0));
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_SAMPLER_H_
