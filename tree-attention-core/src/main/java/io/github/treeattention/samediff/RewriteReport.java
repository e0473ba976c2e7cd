package io.github.treeattention.samediff;

import java.util.List;

/**
 * What {@link AttentionRewrite} replaced, and which attention it left and why; other operations are not listed.
 *
 * @param replaced in the graph's order
 * @param left in the graph's order
 */
public record RewriteReport(List<Replaced> replaced, List<Left> left) {

    /**
     * An operation that is ours now.
     *
     * @param operation its name in the graph; {@code function/operation} in a function of the graph
     * @param from ND4J's name for what it was
     * @param to our name for what it is
     */
    public record Replaced(String operation, String from, String to) {}

    /** An operation that stayed as it was. */
    public record Left(String operation, String kind, String reason) {}

    public RewriteReport {
        replaced = List.copyOf(replaced);
        left = List.copyOf(left);
    }

    /** One line per operation. */
    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        replaced.forEach(each -> text.append(each.operation + ": " + each.from + " -> " + each.to + '\n'));
        left.forEach(each -> text.append(each.operation + ": " + each.kind + " left: " + each.reason + '\n'));
        return text.toString();
    }
}
