package io.github.treeattention.nativeops.cuda;

/**
 * The shape of a launch.
 *
 * @param sharedBytes dynamic shared memory of each block
 */
record Launch(int gridX, int gridY, int gridZ, int blockX, int blockY, int sharedBytes) {}
