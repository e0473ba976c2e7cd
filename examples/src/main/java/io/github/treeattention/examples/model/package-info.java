/** Reads model files into float32 matrices. Trusts no number in a file before it is checked; knows neither ND4J nor ranks. */
package io.github.treeattention.examples.model;
