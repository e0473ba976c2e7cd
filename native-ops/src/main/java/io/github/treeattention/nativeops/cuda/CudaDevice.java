package io.github.treeattention.nativeops.cuda;

/**
 * What the choice of grids and tiles needs to know of a device.
 *
 * @param computeCapability ten times the major version plus the minor: 80 for 8.0
 * @param multiprocessors how many blocks can run at once at least
 * @param sharedBytesPerBlock the most shared memory that a launch may ask for
 */
record CudaDevice(String name, int computeCapability, int multiprocessors, int sharedBytesPerBlock) {}
