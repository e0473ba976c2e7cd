/** The treeattn command: results on stdout, progress and logs on stderr, exit codes that scripts can rely on. */
package io.github.treeattention.examples.cli;
