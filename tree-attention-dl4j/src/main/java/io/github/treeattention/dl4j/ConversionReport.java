package io.github.treeattention.dl4j;

import java.util.List;

/**
 * What a conversion swapped, and which attention layers it left and why; layers of other kinds are not listed.
 *
 * @param swapped in the network's order
 * @param left in the network's order
 */
public record ConversionReport(List<Swapped> swapped, List<Left> left) {

    /**
     * A layer or vertex that is another class now.
     *
     * @param name the layer's or vertex's name, or {@code "layer 2"} where it has none
     */
    public record Swapped(String name, Class<?> from, Class<?> to) {}

    /** A layer or vertex that stayed as it was. */
    public record Left(String name, Class<?> type, String reason) {}

    public ConversionReport {
        swapped = List.copyOf(swapped);
        left = List.copyOf(left);
    }

    /** One line per layer. */
    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        for (Swapped each : swapped) {
            text.append(each.name)
                    .append(": ")
                    .append(each.from.getSimpleName())
                    .append(" -> ")
                    .append(each.to.getSimpleName())
                    .append('\n');
        }
        for (Left each : left) {
            text.append(each.name)
                    .append(": ")
                    .append(each.type.getSimpleName())
                    .append(" left: ")
                    .append(each.reason)
                    .append('\n');
        }
        return text.toString();
    }
}
