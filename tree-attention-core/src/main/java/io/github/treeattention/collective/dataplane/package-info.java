/** Which transport carries the frames between which ranks: the one place that knows all of them. */
package io.github.treeattention.collective.dataplane;
