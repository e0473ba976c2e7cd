#!/bin/sh
# Compiles the kernels to the PTX that ships: compile.sh LIBNVRTC WORK_DIR [SHIPPED]
# LIBNVRTC is libnvrtc.so.11.2 of CUDA 11.6 (with libnvrtc-builtins.so.11.6 beside it); its output loads with drivers from 510 on.
# Leaves WORK_DIR/attention.ptx, which starts with the SHA-256 of the source and of the options; fails if SHIPPED holds other
# instructions.
set -eu

library=$(readlink -f "${1:?usage: compile.sh LIBNVRTC WORK_DIR [SHIPPED]}")
work=${2:?usage: compile.sh LIBNVRTC WORK_DIR [SHIPPED]}
shipped=${3:-}
source=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"

# NVRTC numbers registers, and places copies of them, by where its own memory lies: one environment, and addresses that are not
# drawn at random, make that repeat in one place.
"${CC:-cc}" -O1 -Wall -Wextra -Werror -o "$work/nvrtc" "$source/nvrtc.c" -ldl
sh "$source/sources.sh" >"$work/attention.cu"
cp "$library" "$(dirname "$library")"/libnvrtc-builtins.so.* "$work"
options=$(cat "$source/options.txt")
(
    cd "$work"
    # shellcheck disable=SC2086
    env -i LD_LIBRARY_PATH=. setarch "$(uname -m)" -R ./nvrtc "./$(basename "$library")" attention.cu body.ptx $options
)
hash=$( (cat "$work/attention.cu" && cat "$source/options.txt") | sha256sum | cut -d ' ' -f 1)
{
    printf '// tree-attention: %s\n// sha256 of source and options: %s\n' "$options" "$hash"
    cat "$work/body.ptx"
} >"$work/attention.ptx"

# Every instruction but moves, without its registers' numbers and its place: see above.
instructions() {
    sed '/^\tmov\./d; /^\t\.reg /d; s/%\([a-z]*\)[0-9]*/%\1/g' "$1" | LC_ALL=C sort
}
if [ -n "$shipped" ]; then
    instructions "$work/attention.ptx" >"$work/fresh.txt"
    instructions "$shipped" >"$work/shipped.txt"
    if ! cmp "$work/fresh.txt" "$work/shipped.txt"; then
        echo "the PTX that ships is not what its source compiles to: copy $work/attention.ptx over $shipped" >&2
        exit 1
    fi
    echo "the PTX that ships holds the instructions of a fresh compile"
fi
