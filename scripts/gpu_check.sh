#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, conformance on both GPU backends, the tests of
# tests/gpu, memcheck and racecheck, benchmarks.  Works without network, with the packages of this
# Python (torch, cupy, numba, scipy, mpmath, pytest, hypothesis, pybind11).  Without nvcc, which is
# looked for on the path, in CUDA_HOME and in /usr/local/cuda, or without CuPy the other backend is
# checked alone.  Ends with a short table and writes benchmarks/results/<gpu>.json; exit code 1 if
# anything failed.
#
#   PYTHON=python3 scripts/gpu_check.sh
set -uo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
logs=${LOGS:-build/gpu_check}
mkdir -p "$logs"
export PYTHONPATH="$PWD:$PWD/python${PYTHONPATH:+:$PYTHONPATH}"
names=() results=()

step() { # name command...
  local name=$1 begin=$SECONDS
  shift
  if "$@" > "$logs/$name.txt" 2>&1; then
    results+=("ok")
  else
    results+=("FAILED, see $logs/$name.txt")
    tail -n 15 "$logs/$name.txt"
  fi
  names+=("$name ($((SECONDS - begin)) s)")
}

skip() { # name reason
  names+=("$1") results+=("skipped: $2")
}

gpu_tests() { # a run in which everything was skipped is no success
  "$python" -m pytest -q tests/gpu -p no:cacheprovider > "$logs/pytest.txt" 2>&1
  local code=$?
  cat "$logs/pytest.txt"
  [[ $code == 0 ]] && grep '[0-9] passed' "$logs/pytest.txt" > /dev/null
}

found=$("$python" -c 'import torch
print("%d%d" % torch.cuda.get_device_capability())
print(torch.cuda.get_device_name().lower().replace(" ", "-"))') || {
  echo "no GPU that torch can use"
  exit 1
}
architecture=${found%%$'\n'*} gpu=${found#*$'\n'}

for home in "${CUDA_HOME:-}" /usr/local/cuda; do
  [[ -n $home && -d $home/bin ]] && PATH="$PATH:$home/bin"
done

backends=()
if command -v nvcc > /dev/null; then
  backends+=(cuda)
  step build env KACFLOW_CUDA=1 KACFLOW_NATIVE=1 KACFLOW_CUDA_ARCHITECTURES="$architecture" \
    "$python" setup.py build_ext --inplace
  step kernels "$python" scripts/kernel_report.py --architecture "$architecture"
else
  step build env KACFLOW_CUDA=0 KACFLOW_NATIVE=1 "$python" setup.py build_ext --inplace
  skip cuda "no nvcc"
fi
if "$python" -c 'import cupy' 2> /dev/null; then backends+=(cupy); else skip cupy "no CuPy"; fi
((${#backends[@]})) || {
  echo "neither nvcc nor CuPy"
  exit 1
}
for backend in "${backends[@]}"; do
  step "conformance-$backend" "$python" -m kacflow_core.testing --backend "$backend"
done
step tests gpu_tests

sanitizer=$(command -v compute-sanitizer || true)
for tool in memcheck racecheck; do
  if [[ -n $sanitizer ]]; then
    step "$tool" "$sanitizer" --tool "$tool" --error-exitcode 1 \
      "$python" scripts/gpu_small.py "${backends[0]}"
  else
    skip "$tool" "no compute-sanitizer"
  fi
done
step benchmark "$python" -m benchmarks --device cuda --json "benchmarks/results/$gpu.json" \
  --only bandwidth pair velocity rate latency
cat "$logs/benchmark.txt"

failed=0
for i in "${!names[@]}"; do
  printf '%-28s %s\n' "${names[i]}" "${results[i]}"
  [[ ${results[i]} == FAILED* ]] && failed=1
done
exit $failed
