// The CPU loops over csrc/kac, written once and compiled once per SIMD level: the file that
// includes this one defines KAC_LEVEL and is compiled with that level's flags.
//
// Every loop runs over a block of exactly kBlock elements, so that all elements go through the same
// vector instructions, wherever a range begins or ends: results do not depend on the split.  Blocks
// are computed in stages (words, then numbers) that stay in the first-level cache.  Only <cstdint>
// and csrc/kac may be included: an inline function of the standard library compiled here could be
// picked by the linker for the whole module and then fail on an older processor.
#ifndef KACFLOW_NATIVE_KERNELS_LEVEL_H_
#define KACFLOW_NATIVE_KERNELS_LEVEL_H_

#include "level_events.h"
#include "level_law.h"
#include "level_path.h"
#include "level_sampling.h"
#include "level_spline.h"
#include "level_velocity.h"

#define KACFLOW_STRING_(x) #x
#define KACFLOW_STRING(x) KACFLOW_STRING_(x)
#define KACFLOW_RUN(name, Job, storages, grain) run_##name,
#define KACFLOW_DEFINE_KERNELS(variable)                                                        \
  namespace kacflow {                                                                           \
  extern const Kernels variable;                                                                \
  const Kernels variable = {KACFLOW_STRING(KAC_LEVEL), KACFLOW_NATIVE_OPERATIONS(KACFLOW_RUN)}; \
  }

#endif  // KACFLOW_NATIVE_KERNELS_LEVEL_H_
