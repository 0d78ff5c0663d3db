#!/usr/bin/env bash
# Every check and measurement that needs an NVIDIA GPU, in one go: bench/gpu.sh [ARGUMENTS]
#
# ARGUMENTS go to `python -m bertrt_bench.gpu`: `--seconds 400` for a machine that is lent for so
# long, `--quick`, `--fresh`, `--steps ragged,equal`. Results go to $OUT (default
# build/bench/reports/gpu): results.json, report.md and its plots, pytest.txt, run.txt. Called again,
# it goes on where it stopped. SKIP_TESTS=1 leaves out the tests. It ends with 0 if all is well, 1 if
# a test, a step or a goal failed, 2 if something is missing here, 3 if something is unmeasured.
#
# It wants Python 3.12 with torch (for CUDA 13), transformers, tokenizers, onnx, onnx-ir, onnxscript,
# matplotlib, rich, jinja2 and pytest, and the CUDA build of onnxruntime. Where pip reaches an index:
#   pip install '.[gpu,export,bench]' pytest
# To carry the build to a machine that can fetch nothing (255 MB, in 6 parts of 44 MiB), before:
#   mkdir -p bench/.gpu/wheels bench/.gpu/parts /tmp/ort
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#     --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 -d /tmp/ort onnxruntime-gpu
#   for wheel in /tmp/ort/onnxruntime_gpu-*.whl; do
#     split --bytes=44M --numeric-suffixes --suffix-length=2 "$wheel" "bench/.gpu/parts/${wheel##*/}."
#   done
# Then bring bench/.gpu/parts over, one part at a time if need be, and other wheels, whole, to
# bench/.gpu/wheels ($CARRIED for another folder). git ignores bench/.gpu.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
out=${OUT:-build/bench/reports/gpu}
carried=${CARRIED:-bench/.gpu}
mkdir -p "$out" "$carried/wheels"
carried=$(cd "$carried" && pwd)
site=$carried/site

fail() {
  echo "bench/gpu.sh: $*" >&2
  exit 2
}

join_parts() {
  local parts=("$carried"/parts/*.whl.[0-9][0-9]) name wheel
  if [ ${#parts[@]} -eq 0 ]; then return; fi
  name=$(basename "${parts[0]}")
  wheel=$carried/wheels/${name%.*}
  if [ -e "$wheel" ]; then return; fi
  cat "${parts[@]}" >"$wheel.partial"
  "$python" -m zipfile --test "$wheel.partial" >/dev/null 2>&1 ||
    fail "the ${#parts[@]} parts in $carried/parts do not make up a wheel: is one missing?"
  mv "$wheel.partial" "$wheel"
}

install_wheels() {
  local wheels=("$carried"/wheels/*.whl)
  if [ ${#wheels[@]} -eq 0 ]; then return; fi
  if [ "$(cat "$site/.wheels" 2>/dev/null || true)" = "${wheels[*]}" ]; then return; fi
  rm -rf "$site"
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
    --target "$site" "${wheels[@]}"
  echo "${wheels[*]}" >"$site/.wheels"
}

# Where pip's nvidia packages have their libraries: PyTorch's are those that onnxruntime wants.
nvidia_libraries() {
  "$python" - <<'PYTHON'
import importlib.util
from pathlib import Path

spec = importlib.util.find_spec("nvidia")
roots = list(spec.submodule_search_locations or []) if spec is not None else []
print(":".join(str(folder) for root in roots for folder in sorted(Path(root).glob("*/lib"))))
PYTHON
}

check_modules() {
  "$python" - <<'PYTHON' || fail "install what is missing, or put its wheel into $carried/wheels"
import importlib.util
import sys

wanted = "numpy torch transformers tokenizers onnx onnx_ir onnxscript onnxruntime matplotlib rich pytest"
missing = [name for name in wanted.split() if importlib.util.find_spec(name) is None]
if missing:
    print(f"Python {sys.version.split()[0]} lacks: {' '.join(missing)}", file=sys.stderr)
sys.exit(bool(missing))
PYTHON
}

# A session of one node on CUDA: what is missing shows here, before minutes are spent.
check_cuda() {
  local provider missing
  provider=$("$python" -c 'import onnxruntime, pathlib
print(pathlib.Path(onnxruntime.__file__).parent / "capi/libonnxruntime_providers_cuda.so")')
  [ -e "$provider" ] || fail "this onnxruntime ($(dirname "$provider")) is a build for the CPU"
  if command -v ldd >/dev/null; then
    missing=$(ldd "$provider" | awk '/not found/ {print $1}' | sort -u | tr '\n' ' ')
    if [ -n "$missing" ]; then
      echo "libraries that onnxruntime wants and that are nowhere here: $missing" >&2
      echo "(libcublas*: nvidia-cublas; libcudart: nvidia-cuda-runtime; libcurand: nvidia-curand;" \
        "libcuda: the driver)" >&2
    fi
  fi
  "$python" - <<'PYTHON' || fail "CUDA does not start in onnxruntime: see above"
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "check", value[:1], value[1:])
opset = [helper.make_opsetid("", 20)]
model = helper.make_model(graph, ir_version=10, opset_imports=opset).SerializeToString()
session = onnxruntime.InferenceSession(model, providers=["CUDAExecutionProvider"])
(negative,) = session.run(None, {"x": np.ones(2, np.float32)})
print(f"onnxruntime {onnxruntime.__version__} runs on {session.get_providers()[0]}")
right = (negative == -1).all() and session.get_providers()[0] == "CUDAExecutionProvider"
sys.exit(not right)
PYTHON
}

run_tests() {
  BERTRT_GPU=1 timeout --kill-after=10 "${TEST_SECONDS:-240}" \
    "$python" -m pytest -m gpu -q -p no:cacheprovider tests/test_gpu.py 2>&1 | tee "$out/pytest.txt"
}

measure() {
  "$python" -m bertrt_bench.gpu --output "$out" "$@" 2>&1 | tee -a "$out/run.txt"
}

join_parts
install_wheels
export PYTHONPATH="$site:$PWD/runtime:$PWD/export:$PWD/bench:$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true
libraries=$(nvidia_libraries)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
check_modules
check_cuda

tests=0
if [ -z "${SKIP_TESTS:-}" ]; then run_tests || tests=$?; fi
measured=0
measure "$@" || measured=$?
if [ "$tests" -ne 0 ]; then
  echo "bench/gpu.sh: tests failed (status $tests): see $out/pytest.txt" >&2
  exit 1
fi
exit "$measured"
