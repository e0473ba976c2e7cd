#!/bin/sh
# Prints the kernels as one file, with lines that say where they come from.
set -eu
cd "$(dirname "$0")"
for file in device problem merge plain decode forward backward; do
    printf '#line 1 "/cuda/%s.cuh"\n' "$file"
    cat "$file.cuh"
done
