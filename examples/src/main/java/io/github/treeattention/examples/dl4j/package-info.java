/** Programs that show the DL4J layers at work; start them with {@code treeattn launch -n N -- CLASS}. */
package io.github.treeattention.examples.dl4j;
