package io.github.treeattention.launch;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * All that one host's part of a run is told; crosses to other hosts through the standard input of the process there.
 * Immutable; {@link #toString} leaves the token out.
 *
 * @param jobId name of the run
 * @param node number of the host in the run
 * @param token secret of the run
 * @param worldSize ranks of the run
 * @param localWorldSize ranks on this host
 * @param masterAddress where the coordinator listens
 * @param masterPort its port
 * @param gracePeriod for ranks to end by themselves after a failure
 * @param dataPlane how ranks are linked
 * @param program what they run
 */
record NodePlan(
        String jobId,
        int node,
        String token,
        int worldSize,
        int localWorldSize,
        String masterAddress,
        int masterPort,
        Duration gracePeriod,
        DataPlaneOptions dataPlane,
        Program program) {

    private static final int MAX_TEXT = 16 << 20;
    private static final int MAX_ENTRIES = 1 << 16;
    private static final int MAX_INPUT = 1 << 30;
    private static final int MAX_RANKS = 1 << 16;

    NodePlan {
        check("worldSize", worldSize, 1, MAX_RANKS);
        check("localWorldSize", localWorldSize, 1, worldSize);
        check("node", node, 0, worldSize - 1);
        check("masterPort", masterPort, 1, 0xFFFF);
        check("gracePeriod in ms", gracePeriod.toMillis(), 0, Long.MAX_VALUE);
    }

    private static void check(String name, long value, long least, long most) {
        if (value < least || value > most) {
            throw new IllegalArgumentException(name + " must be " + least + ".." + most + ": got " + value);
        }
    }

    /** Bytes of shared memory that this host needs. */
    long neededBytes() {
        return dataPlane.usesSharedMemory()
                ? dataPlane.requiredBytes(localWorldSize, worldSize) + program.input().length
                : 0;
    }

    void write(DataOutputStream out) throws IOException {
        writeText(out, jobId);
        out.writeInt(node);
        writeText(out, token);
        out.writeInt(worldSize);
        out.writeInt(localWorldSize);
        writeText(out, masterAddress);
        out.writeInt(masterPort);
        out.writeLong(gracePeriod.toMillis());
        writeMap(out, dataPlane.toVariables());
        writeText(out, program.mainClass());
        writeList(out, program.arguments());
        writeText(out, program.classPath());
        writeList(out, program.jvmFlags());
        writeMap(out, program.environment());
        out.writeInt(program.input().length);
        out.write(program.input());
        out.flush();
    }

    /** @throws ProtocolException if it is none */
    static NodePlan read(DataInputStream in) throws IOException {
        try {
            return readUnchecked(in);
        } catch (IllegalArgumentException e) {
            throw new ProtocolException("malformed plan of a host: " + e.getMessage());
        }
    }

    private static NodePlan readUnchecked(DataInputStream in) throws IOException {
        return new NodePlan(
                readText(in),
                in.readInt(),
                readText(in),
                in.readInt(),
                in.readInt(),
                readText(in),
                in.readInt(),
                Duration.ofMillis(in.readLong()),
                DataPlaneOptions.from(readMap(in)),
                new Program(
                        readText(in), readList(in), readText(in), readList(in), readMap(in), readBytes(in, MAX_INPUT)));
    }

    private static void writeText(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    private static String readText(DataInputStream in) throws IOException {
        return new String(readBytes(in, MAX_TEXT), StandardCharsets.UTF_8);
    }

    /** Memory grows with what arrives, not with the length that was announced. */
    static byte[] readBytes(DataInputStream in, int most) throws IOException {
        int length = in.readInt();
        byte[] bytes = length < 0 || length > most ? null : in.readNBytes(length);
        if (bytes == null || bytes.length < length) {
            throw new ProtocolException("a part must have 0.." + most + " bytes and be complete: got " + length);
        }
        return bytes;
    }

    private static void writeList(DataOutputStream out, List<String> texts) throws IOException {
        out.writeInt(texts.size());
        for (String text : texts) {
            writeText(out, text);
        }
    }

    private static List<String> readList(DataInputStream in) throws IOException {
        int size = in.readInt();
        if (size < 0 || size > MAX_ENTRIES) {
            throw new ProtocolException("a list must have 0.." + MAX_ENTRIES + " entries: got " + size);
        }
        List<String> texts = new ArrayList<>();
        for (int i = 0; i < size; i++) {
            texts.add(readText(in));
        }
        return texts;
    }

    private static void writeMap(DataOutputStream out, Map<String, String> map) throws IOException {
        List<String> texts = new ArrayList<>();
        map.forEach((key, value) -> texts.addAll(List.of(key, value)));
        writeList(out, texts);
    }

    private static Map<String, String> readMap(DataInputStream in) throws IOException {
        List<String> texts = readList(in);
        Map<String, String> map = new HashMap<>();
        for (int i = 0; i + 1 < texts.size(); i += 2) {
            map.put(texts.get(i), texts.get(i + 1));
        }
        return map;
    }

    @Override
    public String toString() {
        return "node " + node + " of job " + jobId + ", " + localWorldSize + " of " + worldSize + " ranks";
    }
}
