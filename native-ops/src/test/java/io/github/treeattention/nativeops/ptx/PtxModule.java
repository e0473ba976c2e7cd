package io.github.treeattention.nativeops.ptx;

import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/** Parsed PTX. */
public final class PtxModule {
    private final String version;
    private final String target;
    private final Map<String, Supplier<PtxKernel>> sources;
    private final Map<String, PtxKernel> kernels = new HashMap<>();

    PtxModule(String version, String target, Map<String, Supplier<PtxKernel>> sources) {
        this.version = version;
        this.target = target;
        this.sources = sources;
    }

    /**
     * Parses the text that a compiler emitted. A kernel's instructions are decoded when it is first asked for.
     *
     * @throws IllegalArgumentException with the PTX line, for whatever the simulator does not know
     */
    public static PtxModule parse(String ptx) {
        return new PtxParser().parse(StatementReader.read(ptx));
    }

    public String version() {
        return version;
    }

    public String target() {
        return target;
    }

    public Set<String> names() {
        return sources.keySet();
    }

    /** Decodes every kernel, so that whatever the simulator does not know is found now. */
    public void decodeAll() {
        names().forEach(this::kernel);
    }

    PtxKernel kernel(String name) {
        Supplier<PtxKernel> source = sources.get(name);
        if (source == null) {
            throw new IllegalArgumentException("no kernel " + name + " in " + sources.keySet());
        }
        return kernels.computeIfAbsent(name, n -> source.get());
    }
}
