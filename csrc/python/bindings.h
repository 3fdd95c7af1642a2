// Shared by the binding topics: NumPy arrays in, checked pointers and sizes out.
#ifndef KACFLOW_PYTHON_BINDINGS_H_
#define KACFLOW_PYTHON_BINDINGS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "../native/kernels.h"

namespace kacflow {

namespace py = pybind11;

void register_direct(py::module_& m);
void register_info(py::module_& m);
void register_paths(py::module_& m);
void register_law(py::module_& m);
void register_sampling(py::module_& m);
void register_velocity(py::module_& m);

/// (n0, n1, inner) with a product that fits.
Layout to_layout(std::int64_t n0, std::int64_t n1, std::int64_t inner);

Storage to_storage(int code);

/// Pointer to the data of a flat, C-contiguous array of the layout's size and the storage's width.
const void* to_input(const py::array& a, const char* name, const Layout& layout, Storage storage);
void* to_output(py::array& a, const char* name, const Layout& layout, Storage storage);

/// Strided view of a float32 or float64 array of shape (n0 or 1, n1 or 1).
Parameter to_parameter(const py::array& a, const char* name, const Layout& layout);

/// Strided view of an array of shape (n0 or 1, n1 or 1, n), n >= 1, of the storage's width.
Grid to_grid(const py::array& a, const char* name, const Layout& layout, Storage storage);

}  // namespace kacflow

#endif  // KACFLOW_PYTHON_BINDINGS_H_
