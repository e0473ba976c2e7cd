package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.Statement.Kind;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Splits PTX text into statements. Comments and debug sections are dropped, .loc lines are remembered. */
final class StatementReader {
    private static final Pattern LINE_DIRECTIVE = Pattern.compile("\\.(version|target|address_size|file|loc)\\b.*");
    private static final Pattern LOC = Pattern.compile("\\.loc\\s+(\\d+)\\s+(\\d+)\\b.*");

    private static final Pattern FILE = Pattern.compile("\\.file\\s+(\\d+)\\s+\"([^\"]+)\"");

    private final String ptx;
    private final List<Statement> statements = new ArrayList<>();
    private final StringBuilder pending = new StringBuilder();
    private int at;
    private int line = 1;
    private final Map<String, String> files = new HashMap<>();
    private String cu = "";

    private StatementReader(String ptx) {
        this.ptx = ptx;
    }

    static List<Statement> read(String ptx) {
        StatementReader reader = new StatementReader(ptx);
        reader.run();
        return reader.statements;
    }

    private void run() {
        Matcher file = FILE.matcher(ptx);
        while (file.find()) {
            files.put(file.group(1), file.group(2).replaceAll(".*/", ""));
        }
        while (at < ptx.length()) {
            if (pending.isEmpty() && directiveOfOneLine()) {
                continue;
            }
            char c = ptx.charAt(at++);
            if (c == '\n') {
                line++;
            }
            if (c == '/' && at < ptx.length() && ptx.charAt(at) == '/') {
                skipTo("\n");
            } else if (c == '/' && at < ptx.length() && ptx.charAt(at) == '*') {
                skipPast("*/");
            } else if (c == ';') {
                emit();
            } else if (c == '{' && (pending.isEmpty() || startsAnEntry())) {
                emit();
                statements.add(new Statement(Kind.OPEN, "{", line, cu));
            } else if (c == '}' && pending.isEmpty()) {
                statements.add(new Statement(Kind.CLOSE, "}", line, cu));
            } else if (c == ':' && pending.toString().matches("[\\w$]+")) {
                statements.add(new Statement(Kind.LABEL, pending.toString(), line, cu));
                pending.setLength(0);
            } else if (!Character.isWhitespace(c)) {
                pending.append(c);
            } else if (!pending.isEmpty() && pending.charAt(pending.length() - 1) != ' ') {
                pending.append(' ');
            }
        }
        if (!pending.toString().isBlank()) {
            throw new UnsupportedPtx("PTX line " + line + ": the text ends inside `" + pending + "`");
        }
    }

    /** Directives that end with their line rather than with a semicolon, and debug sections. */
    private boolean directiveOfOneLine() {
        if (ptx.charAt(at) != '.') {
            return false;
        }
        if (ptx.startsWith(".section", at)) {
            skipPast("}");
            return true;
        }
        int end = ptx.indexOf('\n', at);
        String text = ptx.substring(at, end < 0 ? ptx.length() : end);
        if (!LINE_DIRECTIVE.matcher(text.strip()).matches()) {
            return false;
        }
        Matcher loc = LOC.matcher(text.strip());
        if (loc.matches()) {
            cu = files.getOrDefault(loc.group(1), "?") + ":" + loc.group(2);
        } else if (!text.startsWith(".file")) {
            statements.add(
                    new Statement(Kind.DIRECTIVE, text.replaceAll("//.*", "").strip(), line, ""));
        }
        at += text.length();
        return true;
    }

    private boolean startsAnEntry() {
        return pending.indexOf(".entry ") >= 0 || pending.indexOf(".func ") >= 0;
    }

    private void emit() {
        String text = pending.toString().strip();
        pending.setLength(0);
        if (!text.isEmpty()) {
            Kind kind = text.startsWith(".") ? Kind.DIRECTIVE : Kind.INSTRUCTION;
            statements.add(new Statement(kind, text, line, cu));
        }
    }

    private void skipTo(String end) {
        int found = ptx.indexOf(end, at);
        at = found < 0 ? ptx.length() : found;
    }

    private void skipPast(String end) {
        int found = ptx.indexOf(end, at);
        int next = found < 0 ? ptx.length() : found + end.length();
        for (; at < next; at++) {
            if (ptx.charAt(at) == '\n') {
                line++;
            }
        }
    }
}
