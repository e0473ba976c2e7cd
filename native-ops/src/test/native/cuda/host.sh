#!/bin/sh
# The CUDA kernels' source on this host, against float64, under AddressSanitizer and
# UndefinedBehaviorSanitizer: host.sh WORK_DIR [SEED PROBLEMS]. Exit codes: 0 all is well; 77 no sanitizers here; else a finding.
set -eu

work=${1:?usage: host.sh WORK_DIR [SEED PROBLEMS]}
here=$(cd "$(dirname "$0")" && pwd)
kernels=$(cd "$here/../../../main/cuda" && pwd)
cxx=${CXX:-c++}
mkdir -p "$work"

# The kernels look at shared memory through pointers of several types, as CUDA allows. Fibers confuse -Wclobbered.
flags="-std=c++17 -O0 -g -fno-strict-aliasing -fno-omit-frame-pointer -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-unused-function
    -Wno-clobbered -fsanitize=address,undefined -fno-sanitize-recover=all -I$kernels -I$here"
# shellcheck disable=SC2086
if ! echo 'int main() { return 0; }' | $cxx $flags -x c++ - -o "$work/probe" 2>/dev/null || ! "$work/probe" 2>/dev/null; then
    echo "skipped: $cxx cannot build and run programs with sanitizers"
    exit 77
fi
# shellcheck disable=SC2086
$cxx $flags "$here/host_kernels.cpp" -o "$work/host_kernels"
ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 "$work/host_kernels" "${2:-$(date +%s)}" "${3:-32}"
