package io.github.treeattention.launch;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UTFDataFormatException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * How a rank introduces itself to the coordinator. Immutable.
 *
 * @param version version of this library
 * @param jobId the run it wants to join
 * @param rank its number
 * @param worldSize how many ranks it believes in
 * @param host its host; ranks with equal hosts share memory
 * @param endpoints where its data links can be reached, as its data plane says it
 * @param pid its process
 * @param fingerprint what must be equal on all ranks, by name: model hash, data type, shapes
 */
record Hello(
        String version,
        String jobId,
        int rank,
        int worldSize,
        String host,
        String endpoints,
        long pid,
        SortedMap<String, String> fingerprint) {

    private static final int MAX_ENTRIES = 256;

    static Hello of(RankEnvironment environment, String host, Map<String, String> fingerprint) {
        return new Hello(
                LibraryVersion.CURRENT,
                environment.jobId(),
                environment.rank(),
                environment.worldSize(),
                host,
                "",
                ProcessHandle.current().pid(),
                new TreeMap<>(fingerprint));
    }

    Hello withEndpoints(String text) {
        return new Hello(version, jobId, rank, worldSize, host, text, pid, fingerprint);
    }

    /** @throws IllegalArgumentException if the fingerprint does not fit a control frame */
    byte[] encode() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (DataOutputStream out = new DataOutputStream(bytes)) {
            out.writeUTF(version);
            out.writeUTF(jobId);
            out.writeInt(rank);
            out.writeInt(worldSize);
            out.writeUTF(host);
            out.writeUTF(endpoints);
            out.writeLong(pid);
            out.writeShort(fingerprint.size());
            for (Map.Entry<String, String> entry : fingerprint.entrySet()) {
                out.writeUTF(entry.getKey());
                out.writeUTF(entry.getValue());
            }
        } catch (UTFDataFormatException e) {
            throw new IllegalArgumentException(
                    "a fingerprint's names and values must have at most 65535 bytes each (use hashes)", e);
        } catch (IOException e) {
            throw new UncheckedIOException("memory can be written to", e);
        }
        if (fingerprint.size() > MAX_ENTRIES || bytes.size() > ControlChannel.MAX_PAYLOAD) {
            throw new IllegalArgumentException("a fingerprint must have at most " + MAX_ENTRIES + " entries and "
                    + ControlChannel.MAX_PAYLOAD + " bytes (use hashes): got " + fingerprint.size() + " and "
                    + bytes.size());
        }
        return bytes.toByteArray();
    }

    static Hello decode(byte[] payload) throws ProtocolException {
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(payload))) {
            String version = in.readUTF();
            String jobId = in.readUTF();
            int rank = in.readInt();
            int worldSize = in.readInt();
            String host = in.readUTF();
            String endpoints = in.readUTF();
            long pid = in.readLong();
            int entries = in.readUnsignedShort();
            if (entries > MAX_ENTRIES) {
                throw new ProtocolException(
                        "fingerprint must have at most " + MAX_ENTRIES + " entries: got " + entries);
            }
            SortedMap<String, String> fingerprint = new TreeMap<>();
            for (int i = 0; i < entries; i++) {
                fingerprint.put(in.readUTF(), in.readUTF());
            }
            if (in.available() > 0) {
                throw new ProtocolException("HELLO has " + in.available() + " bytes too many");
            }
            return new Hello(version, jobId, rank, worldSize, host, endpoints, pid, fingerprint);
        } catch (ProtocolException e) {
            throw e;
        } catch (IOException e) {
            throw new ProtocolException("malformed HELLO: " + e);
        }
    }

    /** The first fingerprint entries in which two ranks differ, in words; empty if there is none. */
    static String difference(Hello a, Hello b) {
        Hello low = a.rank() < b.rank() ? a : b;
        Hello high = a.rank() < b.rank() ? b : a;
        SortedMap<String, String> union = new TreeMap<>(low.fingerprint());
        union.putAll(high.fingerprint());
        StringBuilder text = new StringBuilder();
        for (String key : union.keySet()) {
            String lowValue = value(low, key);
            String highValue = value(high, key);
            if (!lowValue.equals(highValue)) {
                text.append(text.isEmpty() ? "" : "; ")
                        .append(key)
                        .append(" is ")
                        .append(lowValue)
                        .append(" at rank ")
                        .append(low.rank())
                        .append(" and ")
                        .append(highValue)
                        .append(" at rank ")
                        .append(high.rank());
            }
        }
        return text.toString();
    }

    private static String value(Hello hello, String key) {
        String value = hello.fingerprint().get(key);
        return value == null ? "missing" : "'" + value + "'";
    }
}
