// Which processes there are: t >= 0, and a and c positive normal numbers, all of them finite.
//
// The public functions check that where they can.  Values on a GPU nobody looks at, so the speed of
// a row without a process is NaN.  Every result is made of c t or of c, hence NaN, and elements
// pay nothing for it.
#ifndef KAC_PROCESS_H_
#define KAC_PROCESS_H_

#include "config.h"

namespace kac {
inline namespace KAC_LEVEL {

/// c, or NaN where a, c and t are not those of a process.
template <class T>
KAC_FN T speed_of(T a, T c, T t) {
  const T least = least_normal(T(0)), end = infinity(T(0));
  const bool rate = (a >= least) & (a < end), speed = (c >= least) & (c < end);
  return select(rate & speed & (t >= T(0)) & (t < end), c, quiet_nan(T(0)));
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_PROCESS_H_
