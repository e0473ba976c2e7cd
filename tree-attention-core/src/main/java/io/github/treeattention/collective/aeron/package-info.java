/** Frames over Aeron. The only package that imports Aeron or Agrona. */
package io.github.treeattention.collective.aeron;
