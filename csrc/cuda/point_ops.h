// Functions of the position as operations on tiles: the conditional velocity, its derivatives, the
// law, and the transport.
#ifndef KACFLOW_CUDA_POINT_OPS_H_
#define KACFLOW_CUDA_POINT_OPS_H_

#include "../kac/law.h"
#include "../kac/transport.h"
#include "../kac/velocity.h"
#include "tiles.h"

namespace kacflow {
namespace device {

template <class Stored>
struct PointInputs {
  Vector<Stored> x;
  KAC_FN void load(const PointJob& job, int64 first, int32 count) {
    x = read<Stored>(job.x, first, count, job.tiling.wide != 0);
  }
};

/// Function<Real>::row(a, c, t, s) are a row's constants and Function<Real>::at(row, x) is the
/// value.
template <class Stored, template <class> class Function>
struct PointOp {
  using Job = PointJob;
  using Real = kac::Working<Stored>;
  using Row = typename Function<Real>::Row;
  static constexpr int32 kVector = Vector<Stored>::kSize;
  using Inputs = PointInputs<Stored>;
  using Outputs = Result<Stored>;

  static KAC_FN Row row(const Job& job, const RowIndex& i) {
    return Function<Real>::row(value_at(job.a, i), value_at(job.c, i), value_at(job.t, i),
                               value_at(job.s, i));
  }
  static KAC_FN Real apply(const Row& row, const Inputs& in, int32 j) {
    return Function<Real>::at(row, kac::widen(in.x.values[j]));
  }
};

template <class Real>
struct Velocity {
  using Row = kac::Cone<Real>;
  static KAC_FN Row row(double a, double c, double t, double) { return kac::cone<Real>(a, c, t); }
  static KAC_FN Real at(const Row& cone, Real x) { return kac::velocity(cone, x); }
};

/// v(t, x).
template <class Stored>
using VelocityOp = PointOp<Stored, Velocity>;

/// One row, as the functions of law.h and transport.h ask for it.
template <class Row>
struct One {
  Row row;
  KAC_FN const Row& at(int) const { return row; }
};

template <class Real>
KAC_FN kac::Law<Real> row_of_law(double a, double c, double t, double) {
  return kac::law<Real>(a, c, t);
}

/// The operation Op of a function of law.h or transport.h, at one place or probability; `make`
/// makes the constants of a row.
#define KACFLOW_LAW(name, Function, Op, Constants, make)            \
  template <class Real>                                             \
  struct Function {                                                 \
    using Row = kac::Constants<Real>;                               \
    static KAC_FN Row row(double a, double c, double t, double s) { \
      return make<Real>(a, c, t, s);                                \
    }                                                               \
    static KAC_FN Real at(const Row& row, Real place) {             \
      const Real x[1] = {place};                                    \
      Real out[1];                                                  \
      kac::name(One<Row>{row}, x, out);                             \
      return out[0];                                                \
    }                                                               \
  };                                                                \
  template <class Stored>                                           \
  using Op = PointOp<Stored, Function>;
KACFLOW_LAW(pdf, Pdf, PdfOp, Law, row_of_law)
KACFLOW_LAW(logpdf, LogPdf, LogPdfOp, Law, row_of_law)
KACFLOW_LAW(cdf, Cdf, CdfOp, Law, row_of_law)
KACFLOW_LAW(ppf, Ppf, PpfOp, Law, row_of_law)
KACFLOW_LAW(transport, Transport, TransportOp, Transport, kac::transport)
#undef KACFLOW_LAW

/// (dv/dx, dv/dt).
template <class Stored>
struct GradientOp : PointOp<Stored, Velocity> {
  using Base = PointOp<Stored, Velocity>;
  using Base::kVector;
  using typename Base::Inputs;
  using typename Base::Job;
  using typename Base::Real;
  using typename Base::Row;

  struct Outputs {
    Vector<Stored> dx, dt;
    KAC_FN void set(int32 j, const kac::Gradient<Real>& g) {
      dx.values[j] = kac::Narrow<Stored>::of(g.dx);
      dt.values[j] = kac::Narrow<Stored>::of(g.dt);
    }
    KAC_FN void store(const Job& job, int64 first, int32 count) const {
      write(job.out, first, count, job.tiling.wide != 0, dx);
      write(job.out_dt, first, count, job.tiling.wide != 0, dt);
    }
  };

  static KAC_FN kac::Gradient<Real> apply(const Row& row, const Inputs& in, int32 j) {
    return kac::gradient(row, kac::widen(in.x.values[j]));
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_POINT_OPS_H_
