// The one call that runs a job on the CPU.
#ifndef KACFLOW_PYTHON_RUN_H_
#define KACFLOW_PYTHON_RUN_H_

#include <pybind11/pybind11.h>

namespace kacflow {

void register_run(pybind11::module_& m);
void register_info(pybind11::module_& m);

}  // namespace kacflow

#endif  // KACFLOW_PYTHON_RUN_H_
