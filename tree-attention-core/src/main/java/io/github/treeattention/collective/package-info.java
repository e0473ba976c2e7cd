/**
 * Collectives over any transport: ranks, messages, a reduction. Imports the JDK only, and never hears of attention.
 */
package io.github.treeattention.collective;
