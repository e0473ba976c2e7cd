/** What a model can do with a long context: pass keys, lines and held-out text, as cases with one score each. */
package io.github.treeattention.examples.eval;
