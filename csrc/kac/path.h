// A whole path of the Kac process on a time grid: one closed-form step per interval, whatever the
// number of turns inside it.
//
// (K(t), direction) is a Markov process.  Over an interval of length Delta, with tau = a Delta and
// xi the endpoint of sampler.h, the displacement in the frame of the current direction D is
// c Delta eta with
//
//   no turn          eta = 1                                            D kept
//   odd              eta = xi, symmetric                                D reversed
//   even, 2 or more  eta = +-|xi|, + with probability (1 + |xi|)/2      D kept
//
// (sampler.h averages the even case over the first direction; given N = 2 k and |xi| the two signs
// have densities in the ratio (1 + |xi|) : (1 - |xi|), the same for every k.)
//
// The first interval starts in a random direction D_0.  Its displacement is that of the sampler,
// x = c t xi, and its last direction D follows from the same table, read backwards:
//
//   no turn          D = D_0 = sign x
//   even, 2 or more  D = D_0 = sign x with probability (1 + |xi|)/2
//   odd              D = -D_0 = +-1 with probability 1/2, whatever x: eta is symmetric
//
// The sign comes from u3: against if and only if u3 < (1 - |xi|)/2 = (1 - xi^2)/(2 (1 + |xi|)),
// evaluated as u3 2 (1 + |xi|) < 1 - xi^2 with the 1 - xi^2 of the sampler, which does not cancel:
// an atom (1 - xi^2 = 0) is never against.  The direction after an odd first interval is + if and
// only if the top bit of w3 is set.
//
// Positions are summed in double, whatever the working type.  What is returned obeys the light cone
// strictly: see limited().
//
// Measured: largest |x - exact| in units of c t times the unit roundoff, against the same steps in
// 40 digits on the same words, grids of 16 intervals with tau from 1e-6 to 1e4, 6e3 paths
// (scripts/measure_accuracy.py, tests/core compares):
//
//   path_error_units          float32 17        float64 16
#ifndef KAC_PATH_H_
#define KAC_PATH_H_

#include "config.h"
#include "process.h"
#include "sampler.h"
#include "uniform.h"

namespace kac {
inline namespace KAC_LEVEL {

/// Unit roundoff u and least positive number of the working type.
template <class T>
struct Rounding;
template <>
struct Rounding<float> {
  static constexpr float unit = 0x1p-24f;
  static constexpr float least = 0x1p-149f;
};
template <>
struct Rounding<double> {
  static constexpr double unit = 0x1p-53;
  static constexpr double least = 0x1p-1074;
};

/// What one interval of the rows that share a, c and the grid needs, computed once.
template <class T>
struct StepConstants {
  MapConstants<T> map;
  double length;  ///< c Delta
  T cone;         ///< c Delta as the working type evaluates it: c (end - begin), twice rounded
};

/// Parameters are rounded to the working type first; Delta = end - begin is taken in double. Length
/// and cone are NaN without a process (process.h), and then the path from there on.
template <class T>
KAC_FN StepConstants<T> step_constants(double a, double c, double begin, double end) {
  const T rate = static_cast<T>(a), from = static_cast<T>(begin), to = static_cast<T>(end);
  const T speed = speed_of(rate, static_cast<T>(c), to - from);
  const double delta = static_cast<double>(to) - static_cast<double>(from);
  StepConstants<T> k;
  k.map = map_constants<T>(static_cast<double>(rate), delta);
  k.length = static_cast<double>(speed) * delta;
  k.cone = speed * (to - from);
  return k;
}

/// The random part of one interval.
template <class T>
struct StepDraw {
  Draw<T> endpoint;
  T u3;    ///< in (0, 1)
  T coin;  ///< +1 or -1 with the top bit of w3: the sign of u3 - 1/2
};

KAC_FN StepDraw<float> step_draw(const Words& w) {
  return {draw(w), open_uniform(w.w3), from_bits(0x3f800000u | (~w.w3 & 0x80000000u))};
}
KAC_FN StepDraw<double> step_draw(const Words& w, const Words& v) {
  return {draw(w, v), open_uniform(w.w3, v.w3),
          from_bits(0x3ff0000000000000ull | (static_cast<uint64>(~w.w3 & 0x80000000u) << 32))};
}

/// Where a path is after some interval.
template <class T>
struct PathPoint {
  double sum;   ///< position, summed in double
  T position;   ///< the one returned
  T direction;  ///< +1 or -1; NaN where the position is
};

/// The number of the working type in [from - cap, from + cap] that is nearest to `target`, with a
/// cap just below c Delta: cone (1 - 4 u), less 2 least numbers.
///
/// `cone` is c Delta after two roundings, so cap < c Delta in exact arithmetic, by at most
/// 7 u c Delta, and also where a product among the denormal numbers lost digits.  from + cap is
/// rounded towards `from`: its rounding error comes exactly from Knuth's TwoSum, and a sum that
/// went too far is moved back by one number.  So |result - from| <= cap exactly, hence
///
///   |x_(j+1) - x_j| <= c (t_(j+1) - t_j)
///
/// in exact arithmetic, and, since rounding is monotone, also where the working type evaluates both
/// sides.  The price: in every interval of a run without a turn the returned position falls behind
/// by up to 7 u c Delta and one spacing of the working type at x; it catches up once the path
/// turns. Where c Delta is below that spacing it stands still: |x| <= c t, so the interval must
/// then be of a few spacings of t.
template <class T>
KAC_FN T limited(T from, T target, T cone) {
  const T margin = fma(T(-4) * Rounding<T>::unit, cone, cone) - T(2) * Rounding<T>::least;
  const bool up = target > from;
  const T step = with_sign(larger(T(0), margin), select(up, T(1), T(-1)));  // keeps a NaN
  const T sum = from + step;
  const T taken = sum - from;
  const T error = (from - (sum - taken)) + (step - taken);  // sum + error = from + step
  // One number back towards `from`: up or down in magnitude, as the signs differ or agree.
  const auto bits = to_bits(sum);
  const auto differ = (bits ^ to_bits(step)) >> (8 * sizeof(T) - 1);
  const T back = from_bits(bits - 1 + 2 * differ);
  const T edge = select(select(up, error, -error) < T(0), back, sum);
  return select(up, smaller(target, edge), larger(target, edge));
}

/// 1, or NaN for the constants of no process.
template <class T>
KAC_FN T one_of(const StepConstants<T>& k) {
  return fma(T(0), k.cone, T(1));
}

/// Whether the displacement of an even interval is against the direction; false for an atom.
template <class T>
KAC_FN bool against(const Endpoint<T>& p, T u3) {
  return u3 * fma(T(2), abs(p.xi), T(2)) < p.one_minus_xi2;
}

/// The end of interval 0, its endpoint `p` being given.  The position is the sampler's c t xi, then
/// limited from 0.
template <class T>
KAC_FN PathPoint<T> first_step_at(const StepConstants<T>& k, const StepDraw<T>& u,
                                  const Endpoint<T>& p) {
  const bool odd = turned_oddly(k.map, u.endpoint.w0);
  const T kept = select(against(p, u.u3), -p.xi, p.xi);
  PathPoint<T> end;
  end.sum = k.length * static_cast<double>(p.xi);
  end.position = limited(T(0), k.cone * p.xi, k.cone);
  end.direction = with_sign(one_of(k), select(odd, u.coin, kept));
  return end;
}

/// The end of any later interval, its endpoint `p` being given.
template <class T>
KAC_FN PathPoint<T> next_step_at(const StepConstants<T>& k, const StepDraw<T>& u,
                                 const Endpoint<T>& p, const PathPoint<T>& begin) {
  const bool odd = turned_oddly(k.map, u.endpoint.w0);
  const T kept = select(against(p, u.u3), -abs(p.xi), abs(p.xi));
  const T eta = select(odd, p.xi, kept);
  PathPoint<T> end;
  end.sum = begin.sum + k.length * static_cast<double>(begin.direction * eta);
  end.position = limited(begin.position, static_cast<T>(end.sum), k.cone);
  end.direction = one_of(k) * select(odd, -begin.direction, begin.direction);
  return end;
}

/// The ends of interval 0 and of any later one.
template <class T>
KAC_FN PathPoint<T> first_step(const StepConstants<T>& k, const StepDraw<T>& u) {
  return first_step_at(k, u, endpoint(k.map, u.endpoint));
}
template <class T>
KAC_FN PathPoint<T> next_step(const StepConstants<T>& k, const StepDraw<T>& u,
                              const PathPoint<T>& begin) {
  return next_step_at(k, u, endpoint(k.map, u.endpoint), begin);
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_PATH_H_
