#!/bin/sh
# Our kernels beside PyTorch's (by DJL) and ONNX Runtime's, in turn in one process, on one machine. Downloads 180 MB once.
# usage: examples/src/bench/peers/bench.sh [decode|prefill|train,HEADS,KV_HEADS,DIM,LENGTH,f32|bf16|f16]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../../../.." && pwd)
work=$home/target/peers
"$home/treeattn" info >/dev/null # builds what is missing
if [ ! -d "$work/lib" ]; then
    mkdir -p "$work"
    cp "$here/pom.xml" "$work/pom.xml"
    (cd "$work" && mvn -B -ntp -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory=lib.part)
    mv "$work/lib.part" "$work/lib"
fi
path=$home/tree-attention-core/target/classes:$home/native-ops/target/classes:$work/lib/*
mkdir -p "$work/classes"
javac -d "$work/classes" -cp "$path" "$here"/*.java
# The engine unpacks what is in its jars and asks no server.
exec java --add-exports java.base/jdk.internal.misc=ALL-UNNAMED -Dai.djl.offline=true -XX:MaxDirectMemorySize=8g \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$work/classes:$path" Peers "$@"
