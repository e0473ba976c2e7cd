package io.github.treeattention.launch;

/** One rank that has joined, and the connection to it. */
record Member(Hello hello, ControlChannel channel) {}
