#define KAC_LEVEL avx512
#include "kernels_level.h"

KACFLOW_DEFINE_KERNELS(kKernelsAvx512)
