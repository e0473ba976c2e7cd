/**
 * Attention on NVIDIA GPUs: PTX that ships in the jar, the driver API behind an interface, launch heuristics. Reads
 * nothing but the installed driver: no toolkit is needed. docs/cuda.md says what has run on hardware.
 */
package io.github.treeattention.nativeops.cuda;
