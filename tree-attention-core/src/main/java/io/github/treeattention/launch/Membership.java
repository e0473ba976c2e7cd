package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who has joined a run, who has left, and whether it has failed. Sends while it holds its lock, so all members see
 * decisions in one order; the frames are small enough never to block ({@link ControlChannel#send}). Thread-safe.
 */
final class Membership {
    private static final Logger LOG = LoggerFactory.getLogger(Membership.class);
    private static final int EPOCH = 1;
    private static final int MAX_HOST_LENGTH = 255;
    /** Above the usual distance between two ranks' arrivals at the same call. */
    private static final long HEARING_NANOS = 500_000_000;

    private final String jobId;
    private final int worldSize;
    private final ControlSettings settings;
    private final CompletableFuture<Failure> failure = new CompletableFuture<>();
    /** Members that are connected, by rank. */
    private final TreeMap<Integer, Member> members = new TreeMap<>();

    private final long joinDeadlineNanos;
    private final Accusations accusations = new Accusations();
    private long verdictNanos;
    private boolean formed;

    Membership(String jobId, int worldSize, ControlSettings settings) {
        this.jobId = jobId;
        this.worldSize = worldSize;
        this.settings = settings;
        this.joinDeadlineNanos = System.nanoTime() + settings.joinDeadline().toNanos();
    }

    CompletableFuture<Failure> failure() {
        return failure;
    }

    /**
     * Lets a rank in, and all of them start if it is the last one.
     *
     * @throws ProtocolException if it may not join; it has been told why
     */
    synchronized Member admit(Hello hello, ControlChannel channel) throws IOException {
        if (failure.isDone()) {
            channel.send(FrameType.ABORT, Verdict.encode(failure.join()));
            throw new IOException("rank " + hello.rank() + " came after the group had failed");
        }
        String refusal = refusal(hello);
        if (refusal == null && !members.isEmpty()) {
            String difference = Hello.difference(members.firstEntry().getValue().hello(), hello);
            if (!difference.isEmpty()) {
                // Nobody knows which of the two is right, so the group cannot form.
                refusal = "all ranks must have the same fingerprint: " + difference;
                fail(new Failure(hello.rank(), refusal));
            }
        }
        if (refusal != null) {
            channel.send(FrameType.REFUSED, Verdict.encode(refusal));
            throw new ProtocolException("rank " + hello.rank() + ", pid " + hello.pid() + ": " + refusal);
        }
        channel.send(
                FrameType.ACCEPTED,
                new Verdict.Rhythm(settings.heartbeatInterval(), settings.heartbeatLimit()).encode());
        Member member = new Member(hello, channel);
        members.put(hello.rank(), member);
        if (members.size() == worldSize) {
            formed = true;
            welcomeAll();
        }
        return member;
    }

    private String refusal(Hello hello) {
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
        if (hello.host().length() > MAX_HOST_LENGTH) {
            return "host must have at most " + MAX_HOST_LENGTH + " characters: got "
                    + hello.host().length();
        }
        Member holder = members.get(hello.rank());
        if (holder != null) {
            return "rank " + hello.rank() + " is taken by process "
                    + holder.hello().pid() + " on " + holder.hello().host();
        }
        return formed ? "the group is complete: rank " + hello.rank() + " has left it already" : null;
    }

    private void welcomeAll() {
        List<String> hosts =
                members.values().stream().map(m -> m.hello().host()).toList();
        byte[] payload = new Verdict.Members(EPOCH, new SecureRandom().nextLong(), hosts).encode();
        sendAll(FrameType.WELCOME, payload);
    }

    /** A member ends in good order. */
    synchronized void leave(Member member) {
        int rank = member.hello().rank();
        members.remove(rank);
        try {
            member.channel().send(FrameType.GOODBYE);
        } catch (IOException e) {
            LOG.debug("Rank {} did not wait for the answer to its goodbye", rank);
        }
        if (!formed) {
            fail(new Failure(rank, "it left before the group was complete"));
        }
    }

    /** A call of a member has failed. The others get a moment to say what they know. */
    synchronized void report(int reporter, Failure noticed) {
        if (Accusations.isConfession(reporter, noticed)) {
            fail(noticed);
            return;
        }
        if (accusations.isEmpty()) {
            verdictNanos = System.nanoTime() + HEARING_NANOS;
        }
        accusations.add(reporter, noticed);
        if (accusations.areComplete(worldSize)) {
            fail(accusations.verdict(worldSize));
        }
    }

    /** The first failure is sent to all members, the failed one included: it may only have been stopped. */
    synchronized void fail(Failure cause) {
        Objects.requireNonNull(cause, "cause");
        if (failure.isDone()) {
            return;
        }
        sendAll(FrameType.ABORT, Verdict.encode(cause));
        failure.complete(cause);
    }

    /** To be called every heartbeat interval. */
    synchronized void tick() {
        sendAll(FrameType.HEARTBEAT, new byte[0]);
        if (!formed && !failure.isDone() && System.nanoTime() - joinDeadlineNanos >= 0) {
            joinDeadlinePassed();
        }
        if (!accusations.isEmpty() && System.nanoTime() - verdictNanos >= 0) {
            fail(accusations.verdict(worldSize));
        }
    }

    private void joinDeadlinePassed() {
        List<String> missing = new ArrayList<>();
        int first = -1;
        for (int rank = worldSize - 1; rank >= 0; rank--) {
            if (!members.containsKey(rank)) {
                missing.add(0, Integer.toString(rank));
                first = rank;
            }
        }
        fail(new Failure(
                first,
                "all " + worldSize + " ranks must join within "
                        + settings.joinDeadline().toMillis() + " ms: missing " + String.join(", ", missing)));
    }

    private void sendAll(FrameType type, byte[] payload) {
        for (Member member : members.values()) {
            try {
                member.channel().send(type, payload);
            } catch (IOException e) {
                // The thread that reads from this member sees the loss and reports it.
                LOG.debug("{} did not reach rank {}", type, member.hello().rank());
            }
        }
    }
}
