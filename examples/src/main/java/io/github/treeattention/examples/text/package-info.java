/** From text to token ids, from ids back to text, and from logits to the next id. Knows no model weights and no ranks. */
package io.github.treeattention.examples.text;
