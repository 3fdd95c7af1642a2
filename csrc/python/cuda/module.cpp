// kacflow_core._cuda: the compiled GPU kernels.  Jobs arrive as bytes that
// kacflow_core/backends/_jobs.py packed; see there and csrc/jobs.h.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../cuda/kernels.h"

#define KACFLOW_STRING_(x) #x
#define KACFLOW_STRING(x) KACFLOW_STRING_(x)

namespace py = pybind11;

namespace kacflow {
namespace device {
namespace {

const std::vector<const CompiledKernel*>& kernels() {
  static const std::vector<const CompiledKernel*> list = [] {
    std::vector<const CompiledKernel*> found;
    for (const CompiledKernel* table : {kNoiseKernels, kPointKernels, kPathKernels, kLawKernels,
                                        kTransportKernels, kSplineKernels}) {
      for (; table->function; ++table) found.push_back(table);
    }
    return found;
  }();
  return list;
}

/// Number of a kernel, for launch_kernel.
std::size_t find_kernel(const std::string& operation, const std::string& storage, bool whole) {
  for (std::size_t i = 0; i < kernels().size(); ++i) {
    const CompiledKernel& k = *kernels()[i];
    if (operation == k.operation && storage == k.storage && whole == k.whole) return i;
  }
  throw py::value_error("no kernel " + operation + " for " + storage);
}

void launch_kernel(std::size_t number, unsigned blocks, unsigned threads, std::size_t shared,
                   const py::bytes& job, int device, std::uintptr_t stream) {
  const CompiledKernel& kernel = *kernels().at(number);
  char* bytes = nullptr;
  py::ssize_t size = 0;
  if (PyBytes_AsStringAndSize(job.ptr(), &bytes, &size) != 0) throw py::error_already_set();
  if (static_cast<std::size_t>(size) != kernel.job_size) {
    throw py::value_error("job: size does not match the kernel");
  }
  const py::gil_scoped_release others_run;  // a launch waits where the stream's queue is full
  launch(kernel, {blocks, threads, shared}, bytes, device, stream);
}

/// Loads one kernel on a device; all were compiled for the same ones.
void load_kernel(int device) {
  const py::gil_scoped_release others_run;
  load(*kernels().front(), device);
}

/// A copy of a NumPy array on the current device.
class Memory {
 public:
  explicit Memory(const py::array& array)
      : size_(static_cast<std::size_t>(array.nbytes())), data_(allocate(size_)) {
    if (!(array.flags() & py::array::c_style)) throw py::value_error("array: not C-contiguous");
    const void* const from = array.data();
    const py::gil_scoped_release others_run;
    copy_to_device(data_.get(), from, size_);
  }
  std::uintptr_t pointer() const { return reinterpret_cast<std::uintptr_t>(data_.get()); }
  void download(py::array into) const {
    if (!(into.flags() & py::array::c_style) || !into.writeable() ||
        static_cast<std::size_t>(into.nbytes()) != size_) {
      throw py::value_error("into: not a writeable C-contiguous array of the same size");
    }
    void* const to = into.mutable_data();
    const py::gil_scoped_release others_run;
    copy_to_host(to, data_.get(), size_);
  }

 private:
  struct Release {
    void operator()(void* pointer) const { release(pointer); }
  };
  std::size_t size_;
  std::unique_ptr<void, Release> data_;
};

py::tuple count_devices() {
  std::string reason;
  const int count = device_count(&reason);
  return py::make_tuple(count, reason);
}

py::dict info() {
  py::dict d;
  d["architectures"] = KACFLOW_STRING(KACFLOW_ARCHITECTURES);
  d["runtime"] = runtime_version();
  return d;
}

}  // namespace
}  // namespace device
}  // namespace kacflow

// Nothing here changes after the import.
PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  using namespace kacflow::device;
  m.doc() = "Compiled GPU kernels of kacflow; use them through kacflow_core.";
  m.def("info", &info);
  m.def("device_count", &count_devices);
  m.def("current_device", &current_device);
  m.def("capability", &capability);
  m.def("driver_version", &driver_version);
  m.def("find_kernel", &find_kernel);
  m.def("load_kernel", &load_kernel);
  m.def("launch_kernel", &launch_kernel);
  py::class_<Memory>(m, "Memory")
      .def(py::init<const py::array&>())
      .def_property_readonly("pointer", &Memory::pointer)
      .def("download", &Memory::download);
}
