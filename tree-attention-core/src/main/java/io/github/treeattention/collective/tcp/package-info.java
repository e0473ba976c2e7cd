/** Frames over TCP, with or without TLS, between processes of one host or of several. Imports the JDK only. */
package io.github.treeattention.collective.tcp;
