package io.github.treeattention.nativeops.ptx;

import io.github.treeattention.nativeops.ptx.PtxKernel.Parameter;
import io.github.treeattention.nativeops.ptx.Statement.Kind;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** From statements to kernels. */
final class PtxParser {
    private static final Pattern ENTRY = Pattern.compile("(?:\\.visible )?\\.entry ([\\w$]+) ?\\( ?([^)]*)\\) ?(.*)");
    private static final Pattern PARAMETER =
            Pattern.compile("\\.param (?:\\.align (\\d+) )?\\.(\\w+) ([\\w$]+)(?:\\[(\\d+)\\])?");
    private static final Pattern SHARED =
            Pattern.compile("(?:\\.extern )?\\.shared \\.align (\\d+) \\.(\\w+) ([\\w$]+)(?:\\[(\\d*)\\])?");
    private static final Pattern BOUND =
            Pattern.compile("\\.(maxntid|reqntid|minnctapersm) (\\d+)(?: ?, ?(\\d+))?(?: ?, ?(\\d+))?");

    /** A shared array; {@code bytes} is -1 for dynamic shared memory. */
    private record SharedArray(String name, int align, int bytes) {}

    /** Constants that the compiler declares and uses up itself; an instruction that names one is refused. */
    private static final Pattern CONSTANT = Pattern.compile("\\.global \\.align \\d+ \\.\\w+ [\\w$]+ = [\\w-]+");

    private final Map<String, Supplier<PtxKernel>> kernels = new LinkedHashMap<>();
    private final List<SharedArray> moduleShared = new ArrayList<>();
    private String version = "";
    private String target = "";

    PtxModule parse(List<Statement> statements) {
        for (int i = 0; i < statements.size(); ) {
            Statement statement = statements.get(i);
            Matcher entry = ENTRY.matcher(statement.text());
            if (entry.matches()) {
                int end = endOfBlock(statements, i + 1);
                List<Statement> body = statements.subList(i + 1, end);
                if (kernels.put(entry.group(1), () -> kernel(entry, body, statement)) != null) {
                    throw new UnsupportedPtx("two kernels named " + entry.group(1));
                }
                i = end;
            } else {
                moduleDirective(statement);
                i++;
            }
        }
        if (version.isEmpty() || target.isEmpty()) {
            throw new UnsupportedPtx("PTX starts with .version and .target");
        }
        return new PtxModule(version, target, kernels);
    }

    private void moduleDirective(Statement statement) {
        String text = statement.text();
        if (text.startsWith(".version ")) {
            version = text.substring(9).strip();
        } else if (text.startsWith(".target ")) {
            target = text.substring(8).strip();
        } else if (SHARED.matcher(text).matches()) {
            moduleShared.add(sharedArray(text));
        } else if (!text.equals(".address_size 64") && !CONSTANT.matcher(text).matches()) {
            throw unsupported(statement, null);
        }
    }

    private static UnsupportedPtx unsupported(Statement statement, RuntimeException cause) {
        return new UnsupportedPtx(
                "unsupported PTX at " + statement.where() + ": `" + statement.text() + "`"
                        + (cause == null ? "" : ": " + cause.getMessage()),
                cause);
    }

    private static SharedArray sharedArray(String text) {
        Matcher array = SHARED.matcher(text);
        if (!array.matches()) {
            throw new UnsupportedPtx("shared array " + text);
        }
        String length = array.group(4);
        int bytes = PtxType.of(array.group(2)).bytes();
        if (length == null) {
            length = "1";
        }
        return new SharedArray(
                array.group(3),
                Integer.parseInt(array.group(1)),
                length.isEmpty() ? -1 : bytes * Integer.parseInt(length));
    }

    private static int endOfBlock(List<Statement> statements, int open) {
        int depth = 0;
        for (int i = open; i < statements.size(); i++) {
            Kind kind = statements.get(i).kind();
            depth += kind == Kind.OPEN ? 1 : kind == Kind.CLOSE ? -1 : 0;
            if (depth == 0) {
                return i + 1;
            }
        }
        throw new UnsupportedPtx("a kernel's block does not end");
    }

    private PtxKernel kernel(Matcher entry, List<Statement> body, Statement header) {
        List<Parameter> parameters = new ArrayList<>();
        int parameterBytes = parameters(entry.group(2), parameters, header);
        Map<String, Integer> offsets = new HashMap<>();
        parameters.forEach(parameter -> offsets.put(parameter.name(), parameter.offset()));
        Map<String, Integer> shared = new HashMap<>();
        int staticShared = layOutShared(body, shared);
        Registers registers = new Registers();
        Instruction[] code = code(body, registers, shared, offsets);
        return new PtxKernel(
                entry.group(1),
                parameters,
                parameterBytes,
                staticShared,
                maxThreads(entry.group(3), header),
                code,
                registers);
    }

    private static int parameters(String list, List<Parameter> into, Statement header) {
        int at = 0;
        for (String text : list.isBlank() ? new String[0] : list.strip().split(" ?, ?", -1)) {
            Matcher parameter = PARAMETER.matcher(text.strip());
            if (!parameter.matches()) {
                throw unsupported(header, null);
            }
            int element = PtxType.of(parameter.group(2)).bytes();
            int align = parameter.group(1) == null ? element : Integer.parseInt(parameter.group(1));
            int bytes = element * (parameter.group(4) == null ? 1 : Integer.parseInt(parameter.group(4)));
            at = roundUp(at, align);
            into.add(new Parameter(parameter.group(3), at, bytes));
            at += bytes;
        }
        return at;
    }

    private static int maxThreads(String bounds, Statement header) {
        int threads = 1024;
        Matcher bound = BOUND.matcher(bounds);
        while (bound.find()) {
            if (bound.group(1).equals("reqntid")) {
                throw unsupported(header, null);
            }
            if (bound.group(1).equals("maxntid")) {
                threads = Integer.parseInt(bound.group(2)) * orOne(bound.group(3)) * orOne(bound.group(4));
            }
        }
        if (!BOUND.matcher(bounds).replaceAll("").isBlank()) {
            throw unsupported(header, null);
        }
        return threads;
    }

    private static int orOne(String number) {
        return number == null ? 1 : Integer.parseInt(number);
    }

    /** Gives every shared array that the kernel names its place; dynamic shared memory follows the arrays with a size. */
    private int layOutShared(List<Statement> body, Map<String, Integer> places) {
        List<SharedArray> arrays = new ArrayList<>();
        for (SharedArray array : moduleShared) {
            Pattern use = Pattern.compile("(?<![\\w$%])" + Pattern.quote(array.name()) + "(?![\\w$])");
            if (body.stream().anyMatch(s -> use.matcher(s.text()).find())) {
                arrays.add(array);
            }
        }
        body.stream().filter(s -> s.text().startsWith(".shared ")).forEach(s -> arrays.add(sharedArray(s.text())));
        int at = 0;
        for (SharedArray array : arrays) {
            if (array.bytes() >= 0) {
                at = roundUp(at, array.align());
                places.put(array.name(), at);
                at += array.bytes();
            }
        }
        int dynamic = roundUp(at, 16);
        arrays.stream().filter(array -> array.bytes() < 0).forEach(array -> places.put(array.name(), dynamic));
        return dynamic;
    }

    private static int roundUp(int value, int align) {
        return (value + align - 1) / align * align;
    }

    private static Instruction[] code(
            List<Statement> body, Registers registers, Map<String, Integer> shared, Map<String, Integer> parameters) {
        Map<String, Integer> labels = new HashMap<>();
        int count = 0;
        for (Statement statement : body) {
            if (statement.kind() == Kind.LABEL && labels.put(statement.text(), count) != null) {
                throw unsupported(statement, new UnsupportedPtx("two labels " + statement.text()));
            }
            count += statement.kind() == Kind.INSTRUCTION ? 1 : 0;
        }
        Decoder decoder = new Decoder(registers, shared, parameters, labels);
        List<Instruction> code = new ArrayList<>(count);
        for (Statement statement : body) {
            try {
                switch (statement.kind()) {
                    case OPEN -> registers.open();
                    case CLOSE -> registers.close();
                    case LABEL -> {}
                    case DIRECTIVE -> directive(statement, registers);
                    case INSTRUCTION -> code.add(decoder.decode(statement));
                }
            } catch (RuntimeException cause) {
                throw unsupported(statement, cause);
            }
        }
        return code.toArray(new Instruction[0]);
    }

    private static void directive(Statement statement, Registers registers) {
        String text = statement.text();
        if (text.startsWith(".reg ")) {
            registers.declare(text);
        } else if (!text.startsWith(".shared ") && !text.equals(".pragma \"nounroll\"")) {
            throw new UnsupportedPtx("directive");
        }
    }
}
