// Every operation there is a kernel for, as X(name, operation, storage, type): the name and storage
// are those of kacflow_core/backends/_jobs.py.
#ifndef KACFLOW_CUDA_OPERATIONS_H_
#define KACFLOW_CUDA_OPERATIONS_H_

#include "event_ops.h"
#include "noise_ops.h"
#include "path_ops.h"
#include "point_ops.h"
#include "spline_ops.h"

#define KACFLOW_REAL_STORAGES(X, name, Op) \
  X(name, Op, float32, float)              \
  X(name, Op, float64, double)
#define KACFLOW_ALL_STORAGES(X, name, Op) \
  KACFLOW_REAL_STORAGES(X, name, Op)      \
  X(name, Op, bfloat16, kac::bfloat16)    \
  X(name, Op, float16, kac::float16)

#define KACFLOW_NOISE_OPERATIONS(X)          \
  KACFLOW_REAL_STORAGES(X, sample, SampleOp) \
  KACFLOW_ALL_STORAGES(X, sample_pair, PairOp)
#define KACFLOW_POINT_OPERATIONS(X)             \
  KACFLOW_ALL_STORAGES(X, velocity, VelocityOp) \
  KACFLOW_ALL_STORAGES(X, velocity_grad, GradientOp)

#define KACFLOW_LAW_OPERATIONS(X)            \
  KACFLOW_REAL_STORAGES(X, pdf, PdfOp)       \
  KACFLOW_REAL_STORAGES(X, logpdf, LogPdfOp) \
  KACFLOW_REAL_STORAGES(X, cdf, CdfOp)       \
  KACFLOW_REAL_STORAGES(X, ppf, PpfOp)
#define KACFLOW_TRANSPORT_OPERATIONS(X) KACFLOW_REAL_STORAGES(X, transport, TransportOp)
#define KACFLOW_SPLINE_OPERATIONS(X)                  \
  KACFLOW_REAL_STORAGES(X, spline, SplineOp)          \
  KACFLOW_REAL_STORAGES(X, spline_grad, SplineGradOp) \
  KACFLOW_REAL_STORAGES(X, spline_inverse, SplineInverseOp)
#define KACFLOW_PATH_OPERATIONS(X)                \
  KACFLOW_REAL_STORAGES(X, sample_path, PathOp)   \
  X(count_events, CountEventsOp, float64, double) \
  X(fill_events, FillEventsOp, float64, double)

#endif  // KACFLOW_CUDA_OPERATIONS_H_
