#!/bin/sh
# Builds the kernels with AddressSanitizer and UndefinedBehaviorSanitizer and runs sanitized.cpp: sanitize.sh WORK_DIR
# Exit codes: 0 all is well; 77 the compiler has no sanitizers (nothing was tested); anything else is a finding.
set -eu

work=${1:?usage: sanitize.sh WORK_DIR}
tests=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$tests/../../main/native" && pwd)
cxx=${CXX:-c++}
mkdir -p "$work"

flags="-std=c++17 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -pthread
    -I$source/include -I$source/cpu"
if ! command -v "$cxx" >/dev/null 2>&1 || ! echo 'int main() { return 0; }' | $cxx $flags -x c++ - -o "$work/probe" 2>/dev/null ||
    ! "$work/probe"; then
    echo "skipped: $cxx cannot build and run programs with sanitizers"
    exit 77
fi

objects=
jobs=
compile() {
    name=$1 from=$2
    shift 2
    # shellcheck disable=SC2086
    "$cxx" $flags "$@" -c "$source/cpu/$from" -o "$work/$name.o" &
    jobs="$jobs $!"
    objects="$objects $work/$name.o"
}
for name in attention backward problem thread_pool cpu_features limits scratch; do
    compile $name $name.cpp
done
compile generic kernels.cpp
if [ "$(uname -m)" = x86_64 ]; then
    compile avx2 kernels.cpp -DTA_TIER_AVX2 -mavx2 -mfma -mf16c
    compile avx512 kernels.cpp -DTA_TIER_AVX512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl
fi
for job in $jobs; do
    wait "$job"
done
# shellcheck disable=SC2086
"$cxx" $flags "$tests/sanitized.cpp" $objects -o "$work/sanitized"
ASAN_OPTIONS=detect_leaks=1 "$work/sanitized" "${2:-60}"
# The CUDA kernels' source: the same sanitizers, another program.
sh "$tests/cuda/host.sh" "$work/cuda"
