/**
 * Attention of one rank over its own keys: the contract, the search for the fastest usable kernel, and the plain-Java
 * kernel that is always there. Knows no network; natives come in through ServiceLoader only.
 */
package io.github.treeattention.kernel;
