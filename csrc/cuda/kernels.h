// The compiled kernels, and the few calls of the CUDA runtime that the module needs; no header of
// CUDA is included, so that only the .cu files need nvcc.
#ifndef KACFLOW_CUDA_KERNELS_H_
#define KACFLOW_CUDA_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace kacflow {
namespace device {

struct CompiledKernel {
  const char* operation;
  const char* storage;
  bool whole;
  std::size_t job_size;
  const void* function;
};

/// Ended by an entry without a function.
extern const CompiledKernel kNoiseKernels[];
extern const CompiledKernel kPointKernels[];
extern const CompiledKernel kPathKernels[];
extern const CompiledKernel kLawKernels[];
extern const CompiledKernel kTransportKernels[];
extern const CompiledKernel kSplineKernels[];

struct Grid {
  unsigned blocks, threads;
  std::size_t shared;
};

/// Starts a kernel on a stream (0: the default one) of a device, without waiting for it.  Throws
/// std::runtime_error with the kernel's name if that fails.
void launch(const CompiledKernel& kernel, const Grid& grid, const void* job, int device,
            std::uintptr_t stream);

/// Loads a kernel on a device, translating it if that takes the driver; throws std::runtime_error.
void load(const CompiledKernel& kernel, int device);

/// Number of devices; 0 with a reason if CUDA cannot be used here.
int device_count(std::string* reason);

int current_device();

/// Compute capability of a device, as 10 major + minor.
int capability(int device);

/// Memory of the current device, and copies that wait; they throw std::runtime_error.
void* allocate(std::size_t bytes);
void release(void* pointer) noexcept;
void copy_to_device(void* to, const void* from, std::size_t bytes);
void copy_to_host(void* to, const void* from, std::size_t bytes);

/// Version of the CUDA runtime linked in, as 1000 major + 10 minor.
int runtime_version();

/// The latest version that the driver supports, likewise; 0 without a driver.
int driver_version();

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_KERNELS_H_
