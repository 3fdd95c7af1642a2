#define KAC_LEVEL baseline
#include "kernels_level.h"

KACFLOW_DEFINE_KERNELS(kKernelsBaseline)
