#include "kernel.h"
#include "kernels.h"
#include "operations.h"

namespace kacflow {
namespace device {

const CompiledKernel kSplineKernels[] = {
    KACFLOW_SPLINE_OPERATIONS(KACFLOW_COMPILED){nullptr, nullptr, false, 0, nullptr}};

}  // namespace device
}  // namespace kacflow
