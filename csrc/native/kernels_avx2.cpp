#define KAC_LEVEL avx2
#include "kernels_level.h"

KACFLOW_DEFINE_KERNELS(kKernelsAvx2)
