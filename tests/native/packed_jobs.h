// Jobs that Python packed (packed_jobs.txt, written by scripts/make_jobs.py), run on arrays that
// are allocated to the byte: an address that Python got wrong lies outside them.
#ifndef KACFLOW_TESTS_PACKED_JOBS_H_
#define KACFLOW_TESTS_PACKED_JOBS_H_

#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "../../csrc/native/kernels.h"

namespace kacflow {

struct PackedJob {
  std::string operation, storage;
  std::vector<std::unique_ptr<unsigned char[]>> arrays;
  std::vector<uint64> words;

  /// Reads lines up to the next job; false at the end.
  bool read(std::istream& file) {
    std::string line, key;
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      fields >> key;
      if (line.empty() || key[0] == '#') continue;
      if (key == "job") {
        arrays.clear();
        words.clear();
        fields >> operation >> storage;
      } else if (key == "arrays") {
        for (std::size_t n; fields >> n;) {
          arrays.emplace_back(new unsigned char[n]);
          std::memset(arrays.back().get(), 0x3c, n);  // small positive numbers in every format
        }
      } else if (key == "integers") {
        std::size_t k;
        fields >> k;
        int64 i = 0;
        for (std::size_t at = 0; fields >> i; at += sizeof i) {
          std::memcpy(arrays.at(k).get() + at, &i, sizeof i);
        }
      } else if (key == "words") {
        for (std::string word; fields >> word;) words.push_back(value_of(word));
        return true;
      }
    }
    return false;
  }

  uint64 value_of(const std::string& word) const {
    const std::size_t plus = word.find('+');
    if (plus == std::string::npos) return std::stoull(word, nullptr, 16);
    const unsigned char* const array = arrays.at(std::stoul(word.substr(0, plus))).get();
    return reinterpret_cast<uint64>(array + std::stoull(word.substr(plus + 1), nullptr, 16));
  }

  Storage stored() const {
    return storage == "float32"    ? Storage::kFloat32
           : storage == "float64"  ? Storage::kFloat64
           : storage == "bfloat16" ? Storage::kBFloat16
                                   : Storage::kFloat16;
  }

  template <class Job>
  bool run_as(Kernel<Job> kernel) const {
    Job job;
    if (words.size() * sizeof(uint64) != sizeof job) return false;
    std::memcpy(&job, words.data(), sizeof job);
    const int64 n = job.layout.size;
    kernel(stored(), job, 0, n);
    for (int64 e = 0; e < n; e += 37) kernel(stored(), job, e, e + 37 < n ? e + 37 : n);
    return true;
  }

  /// False if there is no such operation, or its job has another size.
  bool run(const Kernels& k) const {
#define KACFLOW_TRY(name, Job, storages, grain) \
  if (operation == #name) return run_as<Job>(k.name);
    KACFLOW_NATIVE_OPERATIONS(KACFLOW_TRY)
#undef KACFLOW_TRY
    return false;
  }
};

/// Runs every job of the file; the number that could not be run, or 1 if there are none.
inline int count_failed_jobs(const Kernels& k, const char* path) {
  std::ifstream file(path);
  PackedJob job;
  int jobs = 0, failed = 0;
  for (; job.read(file); ++jobs) {
    if (job.run(k)) continue;
    ++failed;
    std::printf("FAILED: job %d, %s of %s\n", jobs, job.operation.c_str(), job.storage.c_str());
  }
  std::printf("level %s: %d jobs of Python, %d failed\n", k.level, jobs, failed);
  return jobs > 0 ? failed : 1;
}

}  // namespace kacflow

#endif  // KACFLOW_TESTS_PACKED_JOBS_H_
