#!/bin/sh
# Cross-compiles the kernels for aarch64, where the generic tier's vectors are NEON's, and runs portable.cpp in qemu if it is
# there: aarch64.sh WORK_DIR. Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static
# Exit codes: 0 all is well; 77 there is no such compiler (nothing was tested); anything else is a finding.
set -eu

work=${1:?usage: aarch64.sh WORK_DIR}
tests=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$tests/../../main/native" && pwd)
cxx=aarch64-linux-gnu-g++
mkdir -p "$work"

if ! command -v $cxx >/dev/null 2>&1; then
    echo "skipped: no $cxx to compile the kernels for aarch64 with"
    exit 77
fi
$cxx -std=c++17 -O2 -fno-exceptions -fno-rtti -pthread -ffp-contract=fast -Wall -Wextra -Wshadow -Werror -static \
    "-I$source/include" "-I$source/cpu" "$source"/cpu/*.cpp "$tests/portable.cpp" -o "$work/portable-aarch64"
if ! command -v qemu-aarch64-static >/dev/null 2>&1; then
    echo "aarch64: the kernels compile; not run, for there is no qemu-aarch64-static"
    exit 0
fi
qemu-aarch64-static "$work/portable-aarch64"
echo "aarch64: the kernels compile, and 40 problems in qemu agree with double arithmetic"
