#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, conformance on both GPU backends, the tests of
# tests/gpu, memcheck and racecheck, benchmarks.  Works without network, with the packages of this
# Python (torch, cupy, numba, pytest, hypothesis, pybind11, ninja).  Ends with a short table and
# writes benchmarks/results/<gpu>.json; exit code 1 if anything failed.
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

gpu_tests() { # a run in which everything was skipped is no success
  "$python" -m pytest -q tests/gpu -p no:cacheprovider | tee /dev/stderr | grep -q '[0-9] passed'
}

found=$("$python" -c 'import torch
print("%d%d" % torch.cuda.get_device_capability())
print(torch.cuda.get_device_name().lower().replace(" ", "-"))') || {
  echo "no GPU that torch can use"
  exit 1
}
architecture=${found%%$'\n'*} gpu=${found#*$'\n'}

step build env KACFLOW_CUDA=1 KACFLOW_NATIVE=1 KACFLOW_CUDA_ARCHITECTURES="$architecture" \
  "$python" setup.py build_ext --inplace
step kernels "$python" scripts/kernel_report.py --architecture "$architecture"
for backend in cuda cupy; do
  step "conformance-$backend" "$python" -m kacflow_core.testing --backend "$backend"
done
step tests gpu_tests

sanitizer=$(command -v compute-sanitizer || true)
for tool in memcheck racecheck; do
  if [[ -n $sanitizer ]]; then
    step "$tool" "$sanitizer" --tool "$tool" --error-exitcode 1 "$python" scripts/gpu_small.py
  else
    names+=("$tool") results+=("skipped: no compute-sanitizer")
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
