/**
 * The processes of a run: the environment of a rank, the control plane that forms a group and notices its failures, and
 * the launcher. Imports collectives and the JDK, and never hears of attention.
 */
package io.github.treeattention.launch;
