#!/usr/bin/env bash
# Build the C++ core without Python under AddressSanitizer and UndefinedBehaviorSanitizer, with each
# SIMD level's own flags (csrc/flags.txt), and run tests/native/sanitize_main.cpp.
set -euo pipefail
cd "$(dirname "$0")/.."

cxx=${CXX:-g++}
out=build/sanitize
flags_of() { sed -n "s/^$1: //p" csrc/flags.txt; }
read -r -a flags <<<"$(flags_of math)"
flags+=(-std=c++17 -O1 -g -Wall -Wextra -fsanitize=address,undefined -fno-sanitize-recover=all)
rm -rf "$out" && mkdir -p "$out"

compile() { # SOURCE FLAGS...
  "$cxx" "${flags[@]}" "${@:2}" -c "$1" -o "$out/$(basename "$1" .cpp).o"
}

running=()
sources=(csrc/native/kernels_baseline.cpp csrc/native/levels.cpp csrc/native/threads.cpp
  tests/native/sanitize_main.cpp)
if [[ $(uname -m) == x86_64 ]]; then
  flags+=(-DKACFLOW_AVX2 -DKACFLOW_AVX512)
  for level in avx2 avx512; do
    read -r -a level_flags <<<"$(flags_of $level)"
    compile "csrc/native/kernels_$level.cpp" "${level_flags[@]}" &
    running+=($!)
  done
fi
for source in "${sources[@]}"; do compile "$source"; done
for process in "${running[@]}"; do wait "$process"; done
"$cxx" "${flags[@]}" "$out"/*.o -o "$out/sanitize" -ldl -lpthread
"$out/sanitize" kacflow_core/testing/philox_vectors.txt tests/native/packed_jobs.txt
