// The one kernel: every operation of noise_ops.h and point_ops.h over a grid of tiles.  Compiled by
// nvcc into kacflow_core._cuda and by NVRTC at run time.
#ifndef KACFLOW_CUDA_KERNEL_H_
#define KACFLOW_CUDA_KERNEL_H_

#include "tiles.h"

namespace kacflow {
namespace device {

constexpr int32 kMaxThreads = 256;

template <class Op, bool kWhole>
__device__ __forceinline__ void run_tile(const typename Op::Job& job) {
  extern __shared__ Vector<uint32> kacflow_shared[];
  auto* const table = reinterpret_cast<Table<typename Op::Row>*>(kacflow_shared);
  const Place at = {blockIdx.x, threadIdx.x, blockDim.x};
  Thread<Op, kWhole> thread;
  fill_table<Op>(job, at, table);
  thread.begin(job, at);
  __syncthreads();
  thread.finish(job, at, *table);
}

template <class Op, bool kWhole>
__global__ void __launch_bounds__(kMaxThreads)
    kernel(const __grid_constant__ typename Op::Job job) {
  run_tile<Op, kWhole>(job);
}

}  // namespace device
}  // namespace kacflow

/// Two entries of a table of CompiledKernel.
#define KACFLOW_COMPILED(name, Op, storage, Type)              \
  {#name, #storage, true, sizeof(typename Op<Type>::Job),      \
   reinterpret_cast<const void*>(&kernel<Op<Type>, true>)},    \
      {#name, #storage, false, sizeof(typename Op<Type>::Job), \
       reinterpret_cast<const void*>(&kernel<Op<Type>, false>)},

/// Defines the kernel `name` for one operation, to be found by that name.
#define KACFLOW_KERNEL(name, Op, whole)                                      \
  extern "C" __global__ void __launch_bounds__(kacflow::device::kMaxThreads) \
      name(const __grid_constant__ typename Op::Job job) {                   \
    kacflow::device::run_tile<Op, whole>(job);                               \
  }

#endif  // KACFLOW_CUDA_KERNEL_H_
