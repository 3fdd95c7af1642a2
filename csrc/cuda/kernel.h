// The kernels: the phases of a thread block, run by one thread each.  Compiled by nvcc into
// kacflow_core._cuda and by NVRTC at run time.
#ifndef KACFLOW_CUDA_KERNEL_H_
#define KACFLOW_CUDA_KERNEL_H_

#include "phases.h"

namespace kacflow {
namespace device {

constexpr int32 kMaxThreads = 256;

/// This thread, as the block that phases.h asks for.
template <class State>
class OneThread {
 public:
  __device__ __forceinline__ OneThread() : at_{blockIdx.x, threadIdx.x, blockDim.x} {}
  __device__ __forceinline__ uint32 threads() const { return at_.threads; }
  template <class Function>
  __device__ __forceinline__ void each(const Function& function) {
    function(at_, &state_);
  }
  __device__ __forceinline__ void barrier() { __syncthreads(); }

 private:
  const Place at_;
  State state_;
};

template <class Op, bool kWhole>
__device__ __forceinline__ void run_block(const typename Op::Job& job) {
  extern __shared__ Vector<uint32> kacflow_shared[];
  OneThread<typename Phases<Op, kWhole>::State> thread;
  Phases<Op, kWhole>::run(job, kacflow_shared, &thread);
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
