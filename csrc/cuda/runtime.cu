#include <cuda_runtime.h>

#include <stdexcept>

#include "kernels.h"

namespace kacflow {
namespace device {
namespace {

std::string text_of(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that is reported here must not show up in somebody else's check
  throw std::runtime_error(std::string(what) + ": " + text_of(error));
}

/// The device of this scope.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    error_ = cudaGetDevice(&before_);
    if (error_ != cudaSuccess || device == before_) return;
    error_ = cudaSetDevice(device);
    changed_ = error_ == cudaSuccess;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  bool changed_ = false;
  cudaError_t error_;
};

}  // namespace

void launch(const CompiledKernel& kernel, const Grid& grid, const void* job, int device,
            std::uintptr_t stream) {
  const OnDevice scope(device);
  cudaError_t error = scope.error();
  if (error == cudaSuccess) {
    void* arguments[] = {const_cast<void*>(job)};
    error = cudaLaunchKernel(kernel.function, dim3(grid.blocks), dim3(grid.threads), arguments,
                             grid.shared, reinterpret_cast<cudaStream_t>(stream));
  }
  if (error == cudaSuccess) return;
  const std::string name = std::string("kernel ") + kernel.operation + " for " + kernel.storage;
  check(error, (name + " on device " + std::to_string(device) + ", " + std::to_string(grid.blocks) +
                " blocks of " + std::to_string(grid.threads) + " threads")
                   .c_str());
}

void load(const CompiledKernel& kernel, int device) {
  const OnDevice scope(device);
  check(scope.error(), "cudaSetDevice");
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, kernel.function), "cudaFuncGetAttributes");
}

int device_count(std::string* reason) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    *reason = text_of(error);
    return 0;
  }
  if (count == 0) *reason = "no CUDA device";
  return count;
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

int capability(int device) {
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "capability");
  return 10 * major + minor;
}

void* allocate(std::size_t bytes) {
  void* pointer = nullptr;
  check(cudaMalloc(&pointer, bytes), "cudaMalloc");
  return pointer;
}

void release(void* pointer) noexcept { cudaFree(pointer); }

void copy_to_device(void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copy to the device");
}

void copy_to_host(void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copy to the host");
}

int runtime_version() { return CUDART_VERSION; }

int driver_version() {
  int version = 0;
  check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
  return version;
}

}  // namespace device
}  // namespace kacflow
