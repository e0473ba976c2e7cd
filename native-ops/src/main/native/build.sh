#!/bin/sh
# Builds libtreeattention for this machine: build.sh OUTPUT_DIR [VERSION] [JAVA_HOME]
#
# Leaves OUTPUT_DIR/META-INF/native/<os>-<arch>/libtreeattention-<VERSION>.so. Compiles only what is older than its
# sources. Without a C++ compiler it says so in one line and succeeds: the Java kernel serves then.
# CXX names the compiler, TREE_ATTENTION_CXXFLAGS adds flags (sanitizers).
set -eu

out=${1:?usage: build.sh OUTPUT_DIR [VERSION] [JAVA_HOME]}
version=${2:-dev}
java_home=${3:-${JAVA_HOME:-}}
source=$(cd "$(dirname "$0")" && pwd)

arch=$(uname -m)
case $arch in amd64) arch=x86_64 ;; arm64) arch=aarch64 ;; esac
os=$(uname -s | tr '[:upper:]' '[:lower:]')

cxx=${CXX:-}
if [ -z "$cxx" ]; then
    for candidate in c++ g++ clang++; do
        if command -v "$candidate" >/dev/null 2>&1; then
            cxx=$candidate
            break
        fi
    done
fi
if [ -z "$cxx" ] || [ "$os" != linux ]; then
    echo "tree-attention-native: no native kernels built (no C++ compiler for $os found; set CXX); the Java kernel serves"
    exit 0
fi
if [ ! -f "$java_home/include/jni.h" ]; then
    echo "tree-attention-native: no native kernels built (no include/jni.h under '$java_home'); the Java kernel serves"
    exit 0
fi

library=$out/META-INF/native/$os-$arch/libtreeattention-$version.so
objects=$out/../native-objects
mkdir -p "$(dirname "$library")" "$objects"

# Same bytes wherever it is built: no paths, no build id. No fast-math: NaN and infinities have meaning here.
common="-std=c++17 -O3 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -pthread -ffp-contract=fast
    -Wall -Wextra -Wshadow -Werror ${TREE_ATTENTION_CXXFLAGS:-}"
avx2="-mavx2 -mfma -mf16c"
# GCC 12's own AVX-512 headers trip these two (GCC bug 105593).
avx512="$avx2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512 -Wno-maybe-uninitialized -Wno-uninitialized"

stamp=$("$cxx" --version | head -n 1)\ $common\ $avx512
if [ "$(cat "$objects/flags" 2>/dev/null || true)" != "$stamp" ]; then
    rm -f "$objects"/*.o
    printf '%s\n' "$stamp" >"$objects/flags"
fi
newest=$(find "$source/include" "$source/cpu" "$source/jni" "$source/build.sh" -type f -printf '%T@ %p\n' | sort -n | tail -n 1)
if [ -f "$library" ] && [ -f "$objects/sources" ] && [ "$(cat "$objects/sources")" = "$newest" ] && ls "$objects"/*.o >/dev/null 2>&1; then
    exit 0
fi

# compile NAME SOURCE FLAGS...
compile() {
    name=$1 from=$2
    shift 2
    # shellcheck disable=SC2086
    "$cxx" $common "-ffile-prefix-map=$source=." "-I$source/include" "-I$source/cpu" "$@" -c "$source/$from" -o "$objects/$name.o"
}

echo "tree-attention-native: compiling with $cxx"
rm -f "$objects"/*.o
compile attention cpu/attention.cpp
compile backward cpu/backward.cpp
compile problem cpu/problem.cpp
compile thread_pool cpu/thread_pool.cpp
compile cpu_features cpu/cpu_features.cpp
compile limits cpu/limits.cpp
compile scratch cpu/scratch.cpp
compile kernels_generic cpu/kernels.cpp
if [ "$arch" = x86_64 ]; then
    # shellcheck disable=SC2086
    compile kernels_avx2 cpu/kernels.cpp -DTA_TIER_AVX2 $avx2
    # shellcheck disable=SC2086
    compile kernels_avx512 cpu/kernels.cpp -DTA_TIER_AVX512 $avx512
fi
compile bindings jni/bindings.cpp "-I$java_home/include" "-I$java_home/include/$os"
compile cuda_driver jni/cuda_driver.cpp "-I$java_home/include" "-I$java_home/include/$os"

# A weak symbol in a tier's object could be shared with code that must run on any CPU.
if command -v nm >/dev/null 2>&1 && nm "$objects"/kernels_*.o | grep ' [WVu] '; then
    echo "tree-attention-native: the symbols above are shared between instruction-set tiers" >&2
    exit 1
fi

# shellcheck disable=SC2086
"$cxx" $common -shared -static-libgcc -static-libstdc++ -Wl,--no-undefined -Wl,-z,relro -Wl,-z,now -Wl,--build-id=none \
    -Wl,--exclude-libs,ALL -o "$library.part" "$objects"/*.o -ldl
mv "$library.part" "$library"
printf '%s\n' "$newest" >"$objects/sources"
