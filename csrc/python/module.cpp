// kacflow_core._native: the compiled CPU kernels.  Each topic registers itself.
#include "bindings.h"

PYBIND11_MODULE(_native, m) {
  m.doc() = "Compiled CPU kernels of kacflow; use them through kacflow_core.";
  kacflow::register_direct(m);
  kacflow::register_info(m);
  kacflow::register_paths(m);
  kacflow::register_law(m);
  kacflow::register_sampling(m);
  kacflow::register_velocity(m);
}
