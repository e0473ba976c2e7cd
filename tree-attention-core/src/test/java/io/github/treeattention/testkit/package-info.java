/** What several modules' tests share; ships in core's test jar, never in a product jar. */
package io.github.treeattention.testkit;
