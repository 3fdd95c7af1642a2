#!/usr/bin/env bash
# Build the C++ core without Python under AddressSanitizer and UndefinedBehaviorSanitizer, with each
# SIMD level's own flags as in setup.py, and run tests/native/sanitize_main.cpp.
set -euo pipefail
cd "$(dirname "$0")/.."

cxx=${CXX:-g++}
out=build/sanitize
flags=(-std=c++17 -O1 -g -ffp-contract=off -fno-math-errno -fno-trapping-math
  -fsanitize=address,undefined -fno-sanitize-recover=all -Wall -Wextra)
avx2=(-mavx2 -mfma -mbmi2)
avx512=("${avx2[@]}" -mavx512f -mavx512dq -mavx512bw -mavx512vl)
mkdir -p "$out"

sources=(csrc/native/kernels_baseline.cpp csrc/native/levels.cpp csrc/native/threads.cpp
  tests/native/sanitize_main.cpp)
if [[ $(uname -m) == x86_64 ]]; then
  flags+=(-DKACFLOW_X86_LEVELS)
  "$cxx" "${flags[@]}" "${avx2[@]}" -c csrc/native/kernels_avx2.cpp -o "$out/kernels_avx2.o" &
  "$cxx" "${flags[@]}" "${avx512[@]}" -c csrc/native/kernels_avx512.cpp -o "$out/kernels_avx512.o" &
fi
for source in "${sources[@]}"; do
  "$cxx" "${flags[@]}" -c "$source" -o "$out/$(basename "$source" .cpp).o"
done
wait
"$cxx" "${flags[@]}" "$out"/*.o -o "$out/sanitize" -ldl -lpthread
"$out/sanitize" kacflow_core/testing/philox_vectors.txt
