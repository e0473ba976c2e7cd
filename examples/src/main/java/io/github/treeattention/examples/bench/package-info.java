/** What the kernels are measured with: one case at a time, against limits of the machine taken in the same run. */
package io.github.treeattention.examples.bench;
