package io.github.treeattention.nativeops.cuda;

import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A bug planted into one instruction of one kernel: the {@code index}th match of a pattern is replaced. */
record Mutant(String kernel, String pattern, int index, String replacement) implements UnaryOperator<String> {

    @Override
    public String apply(String ptx) {
        int[] body = body(ptx, kernel);
        Matcher matcher = Pattern.compile(pattern).matcher(ptx).region(body[0], body[1]);
        for (int i = 0; i <= index; i++) {
            if (!matcher.find()) {
                throw new IllegalStateException(this + " applies nowhere: the PTX has only " + i + " such places");
            }
        }
        StringBuilder changed = new StringBuilder(ptx.substring(0, matcher.start()));
        String planted = matcher.group().replaceFirst(pattern, replacement);
        if (planted.equals(matcher.group())) {
            throw new IllegalStateException(this + " changes nothing");
        }
        return changed.append(planted).append(ptx, matcher.end(), ptx.length()).toString();
    }

    private static int[] body(String ptx, String kernel) {
        int start = ptx.indexOf(".entry " + kernel + "(");
        if (start < 0) {
            throw new IllegalStateException("no kernel " + kernel);
        }
        return new int[] {start, ptx.indexOf("\n}\n", start)};
    }
}
