#include "bindings.h"

namespace kacflow {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& what) {
  throw py::value_error(std::string(name) + ": " + what);
}

std::int64_t width(Storage storage) {
  switch (storage) {
    case Storage::kFloat32: return 4;
    case Storage::kFloat64: return 8;
    case Storage::kBFloat16:
    case Storage::kFloat16: break;
  }
  return 2;
}

void check_data(const py::array& a, const char* name, const Layout& layout, Storage storage) {
  if (a.itemsize() != width(storage)) refuse(name, "element size does not match the storage");
  if (a.size() != layout.size()) refuse(name, "size does not match the layout");
  if (!(a.flags() & py::array::c_style)) refuse(name, "not C-contiguous");
}

}  // namespace

Layout to_layout(std::int64_t n0, std::int64_t n1, std::int64_t inner) {
  if (n0 < 0 || n1 < 0 || inner < 0) throw py::value_error("layout: negative extent");
  const __int128 size = static_cast<__int128>(n0) * n1 * inner;
  if (size > (static_cast<__int128>(1) << 60)) throw py::value_error("layout: too many elements");
  Layout layout;
  layout.n0 = n0;
  layout.n1 = n1;
  layout.inner = inner;
  return layout;
}

Storage to_storage(int code) {
  if (code < 0 || code > 3) throw py::value_error("storage: code must be 0, 1, 2 or 3");
  return static_cast<Storage>(code);
}

const void* to_input(const py::array& a, const char* name, const Layout& layout, Storage storage) {
  check_data(a, name, layout, storage);
  return a.data();
}

void* to_output(py::array& a, const char* name, const Layout& layout, Storage storage) {
  check_data(a, name, layout, storage);
  if (!a.writeable()) refuse(name, "read-only");
  return a.mutable_data();
}

Parameter to_parameter(const py::array& a, const char* name, const Layout& layout) {
  const auto itemsize = a.itemsize();
  if (a.dtype().kind() != 'f' || (itemsize != 4 && itemsize != 8)) {
    refuse(name, "must be float32 or float64");
  }
  if (a.ndim() != 2 || (a.shape(0) != layout.n0 && a.shape(0) != 1) ||
      (a.shape(1) != layout.n1 && a.shape(1) != 1)) {
    refuse(name, "shape must be (n0 or 1, n1 or 1) of the layout");
  }
  if (a.strides(0) % itemsize != 0 || a.strides(1) % itemsize != 0) {
    refuse(name, "strides must be whole elements");
  }
  Parameter p;
  p.data = a.data();
  p.is_double = itemsize == 8;
  p.stride0 = a.shape(0) == 1 ? 0 : a.strides(0) / itemsize;
  p.stride1 = a.shape(1) == 1 ? 0 : a.strides(1) / itemsize;
  return p;
}

Grid to_grid(const py::array& a, const char* name, const Layout& layout, Storage storage) {
  const auto itemsize = a.itemsize();
  if (itemsize != width(storage)) refuse(name, "element size does not match the storage");
  if (a.ndim() != 3 || (a.shape(0) != layout.n0 && a.shape(0) != 1) ||
      (a.shape(1) != layout.n1 && a.shape(1) != 1) || a.shape(2) < 1) {
    refuse(name, "shape must be (n0 or 1, n1 or 1, n) of the layout, n >= 1");
  }
  if (a.strides(0) % itemsize != 0 || a.strides(1) % itemsize != 0 ||
      (a.shape(2) > 1 && a.strides(2) != itemsize)) {
    refuse(name, "strides must be whole elements, and one element along the grid");
  }
  Grid g;
  g.data = a.data();
  g.n = a.shape(2);
  g.stride0 = a.shape(0) == 1 ? 0 : a.strides(0) / itemsize;
  g.stride1 = a.shape(1) == 1 ? 0 : a.strides(1) / itemsize;
  return g;
}

}  // namespace kacflow
