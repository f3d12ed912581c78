#!/usr/bin/env bash
# Build with a sanitizer and run the C++ tests and the Python tests under it.
#
#   .ci/sanitize.sh asan|ubsan|tsan [--full] [--no-build] [pytest arguments]
#
# asan is AddressSanitizer with UndefinedBehaviorSanitizer. The reduced run (the default) leaves out tests marked slow
# and sets GORGO_REDUCED=1, which the generic tests read to take fewer samples; tsan runs only what has threads in it.
# --full runs all. The interpreter must hold the test extra; it need not hold gorgo, which is imported from the build
# folder.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:?usage: .ci/sanitize.sh asan|ubsan|tsan [--full] [--no-build] [pytest arguments]}
shift
full=0 build=1
while [[ ${1:-} == --full || ${1:-} == --no-build ]]; do
  if [[ $1 == --full ]]; then full=1; else build=0; fi
  shift
done
python=${PYTHON:-python}
folder=${GORGO_BUILD_PREFIX:-build/}$kind

if ((build)); then
  # One instruction set is enough for a reduced run, the one that the tests then use: AVX2, the same source as base with
  # longer vectors. For threads it is base: what they share out depends on shapes, not on the instruction set.
  isas="avx2;avx512" base=ON
  if ! ((full)); then
    isas=$([[ $kind == tsan ]] || echo avx2)
    base=OFF
  fi
  cmake --preset "$kind" -B "$folder" -DGORGO_UNITY=ON "-DGORGO_ISAS=$isas" "-DGORGO_SANITIZE_BASE=$base" \
    "-DPython_EXECUTABLE=$(command -v "$python")"
  cmake --build "$folder" --parallel "$(nproc)"
fi

libraries() { for name in "$@"; do "${CXX:-c++}" "-print-file-name=$name"; done | paste -sd: -; }
logs=$PWD/$folder/reports
rm -rf "$logs" && mkdir -p "$logs"
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=0:exitcode=66:second_deadlock_stack=1:die_after_fork=0:suppressions=$PWD/.ci/tsan.supp:history_size=4
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1

# Some kernels place memory at more random addresses than the thread sanitizer of older compilers can map.
fixed_addresses=()
if [[ $kind == tsan ]] && setarch -R true 2>/dev/null; then fixed_addresses=(setarch -R); fi

echo "== C++ tests under $kind"
"${fixed_addresses[@]}" "$folder/gorgo_cpp_tests"

tests=(tests)
if ! ((full)); then
  export GORGO_REDUCED=1
  set -- -m "not slow" "$@"
  if [[ $kind == tsan ]]; then
    tests=(tests/test_threads.py tests/test_memory.py tests/test_graph.py)
  fi
fi
echo "== Python tests under $kind"
# The interpreter itself is not instrumented, so the runtime is loaded before it; libstdc++ with it, or the
# interceptor of exceptions finds nothing to call. CPython leaves memory behind at exit, so leaks are judged by
# sanitized_tests.py. Its allocator is left out of play so that each object is a block of its own that the
# sanitizer can watch.
case $kind in
  asan)
    preload=$(libraries libasan.so libstdc++.so)
    export PYTHONMALLOC=malloc
    export ASAN_OPTIONS=$ASAN_OPTIONS:alloc_dealloc_mismatch=0:detect_odr_violation=0:allocator_may_return_null=1
    # Where a thread's own variables lie, the sanitizer of GCC 12 guesses from the words before them if they begin 16 bytes
    # into a page, as one in 256 does; then the leak check reads from nowhere. They are found without that too.
    export ASAN_OPTIONS=$ASAN_OPTIONS:intercept_tls_get_addr=0
    # The leak checker's `exitcode` would hide the death of the process by another error too; so reports tell.
    export LSAN_OPTIONS=exitcode=0:report_objects=0:max_leaks=0:print_suppressions=0
    export ASAN_OPTIONS=$ASAN_OPTIONS:abort_on_error=1
    ;;
  ubsan) preload=$(libraries libubsan.so libstdc++.so) ;;
  tsan)
    preload=$(libraries libtsan.so libstdc++.so)
    export TSAN_OPTIONS=$TSAN_OPTIONS:ignore_noninstrumented_modules=1
    ;;
esac
export PYTHONPATH=$PWD/$folder/python GORGO_SANITIZED=$kind
if [[ $kind == tsan ]]; then
  # Threads are tested one process at a time.
  "${fixed_addresses[@]}" env LD_PRELOAD="$preload" "$python" -X faulthandler -m pytest -q -p no:cacheprovider \
    "${tests[@]}" "$@"
else
  "$python" .ci/sanitized_tests.py "$kind" "$logs" "$preload" "${tests[@]}" "$@"
fi
