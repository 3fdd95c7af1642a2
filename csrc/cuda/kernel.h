// The kernels: operations on tiles, and walks along paths.  Compiled by nvcc into
// kacflow_core._cuda and by NVRTC at run time.
#ifndef KACFLOW_CUDA_KERNEL_H_
#define KACFLOW_CUDA_KERNEL_H_

#include "path_ops.h"
#include "tiles.h"

namespace kacflow {
namespace device {

constexpr int32 kMaxThreads = 256;

template <class Op, bool kWhole>
struct Run {
  static __device__ __forceinline__ void block(const typename Op::Job& job, const Place& at,
                                               void* shared) {
    auto* const table = static_cast<Table<typename Op::Row>*>(shared);
    Thread<Op, kWhole> thread;
    fill_table<Op>(job, at, table);
    thread.begin(job, at);
    __syncthreads();
    thread.finish(job, at, *table);
  }
};

template <class Real, bool kWhole>
struct Run<PathOp<Real>, kWhole> {
  static __device__ __forceinline__ void block(const PathJob& job, const Place& at, void* shared) {
    using Op = PathOp<Real>;
    const typename Op::Shared memory(shared, job, at);
    typename Op::Walk walk;
    walk.begin(job, at);
    for (int64 j = 0; j < job.times.n; j += job.tiling.groups) {
      Op::fill(job, at, walk, j, memory);
      __syncthreads();
      Op::step(job, at, j, memory, &walk);
      __syncthreads();
      Op::write(job, at, walk, j, memory);
    }
  }
};

template <class Op, bool kWhole>
__device__ __forceinline__ void run_block(const typename Op::Job& job) {
  extern __shared__ Vector<uint32> kacflow_shared[];
  Run<Op, kWhole>::block(job, {blockIdx.x, threadIdx.x, blockDim.x}, kacflow_shared);
}

template <class Op, bool kWhole>
__global__ void __launch_bounds__(kMaxThreads)
    kernel(const __grid_constant__ typename Op::Job job) {
  run_block<Op, kWhole>(job);
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
    kacflow::device::run_block<Op, whole>(job);                              \
  }

#endif  // KACFLOW_CUDA_KERNEL_H_
