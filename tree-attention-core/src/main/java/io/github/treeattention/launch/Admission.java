package io.github.treeattention.launch;

import io.github.treeattention.launch.Verdict.Members;
import java.nio.charset.StandardCharsets;

/** What a process that wants to join must have in common with its run, whoever else has joined. Immutable. */
final class Admission {
    private static final int MOST_TEXT_BYTES = 255;

    private final String jobId;

    Admission(String jobId) {
        this.jobId = jobId;
    }

    /**
     * Why a process may not be a member, or null.
     *
     * @param worldSize of the epoch that it would be in
     */
    String refusal(Hello hello, int worldSize) {
        if (!hello.version().equals(LibraryVersion.CURRENT)) {
            return "library version must match: coordinator=" + LibraryVersion.CURRENT + ", rank " + hello.rank() + "="
                    + hello.version();
        }
        if (!hello.jobId().equals(jobId)) {
            return "job id must match: coordinator=" + jobId + ", rank " + hello.rank() + "=" + hello.jobId();
        }
        if (hello.worldSize() != worldSize) {
            return "world size must match: coordinator=" + worldSize + ", rank " + hello.rank() + "="
                    + hello.worldSize();
        }
        if (hello.rank() < 0 || hello.rank() >= worldSize) {
            return "rank must be 0.." + (worldSize - 1) + ": got " + hello.rank();
        }
        int most = mostTextBytes(worldSize);
        String host = tooLong("host", hello.host(), most);
        return host != null ? host : tooLong("endpoints", hello.endpoints(), most);
    }

    /** All members' texts travel in one frame, which must take them. */
    static int mostTextBytes(int worldSize) {
        int perMember = (ControlChannel.MAX_PAYLOAD - Members.FIXED_LENGTH) / worldSize;
        return Math.max(0, Math.min(MOST_TEXT_BYTES, perMember / 2 - Members.TEXT_OVERHEAD));
    }

    private static String tooLong(String name, String text, int most) {
        int length = text.getBytes(StandardCharsets.UTF_8).length;
        return length <= most ? null : name + " must have at most " + most + " bytes: got " + length;
    }
}
