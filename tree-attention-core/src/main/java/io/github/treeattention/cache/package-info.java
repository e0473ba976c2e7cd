/** Where keys and values live, and which global positions a rank holds. Knows neither kernels nor networks. */
package io.github.treeattention.cache;
