// Splitting a range over threads.  The threads are those of the OpenMP runtime that the process
// has loaded already (torch brings one), so that the process keeps one set of worker threads; where
// there is none, and in a forked child, whose copy of the runtime would hang, plain threads are
// started for the call and joined before it returns.
#ifndef KACFLOW_NATIVE_THREADS_H_
#define KACFLOW_NATIVE_THREADS_H_

namespace kacflow {

/// Work on [begin, end); called from several threads at once, must not throw.
using RangeFunction = void (*)(const void* job, long long begin, long long end);

/// Calls work(job, ...) over pieces of [0, n) on at most `threads` threads, the caller's included,
/// and returns when all are done.  Fewer threads are used if each would get less than `grain`, and
/// never more than 64 or than there are processors: an OpenMP runtime that cannot start as many as
/// it is asked for ends the process.
void parallel_for(long long n, long long grain, int threads, RangeFunction work, const void* job);

/// Where further threads come from now: "openmp" or "std::thread".
const char* thread_source();

}  // namespace kacflow

#endif  // KACFLOW_NATIVE_THREADS_H_
