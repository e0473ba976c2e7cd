/**
 * A LLaMA-style decoder whose keys and values lie on several ranks. Uses the library's public types only; nothing may
 * depend on this module.
 */
package io.github.treeattention.examples;
