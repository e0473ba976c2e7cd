package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who has joined a run, who has left, and whether it has failed; and, where the run allows it, who forms the next epoch
 * after a failure. Sends while it holds its lock, so all members see decisions in one order; the frames are small enough
 * never to block ({@link ControlChannel#send}). Thread-safe.
 */
final class Membership {
    private static final Logger LOG = LoggerFactory.getLogger(Membership.class);
    private static final int FIRST_EPOCH = 1;
    private final Admission admission;
    private final ControlSettings settings;
    /** Whether survivors may form a new epoch. */
    private final boolean reforms;

    /** Told of members that the group goes on without, dead or alive. */
    private final Consumer<Hello> lostListener;

    private final CompletableFuture<Failure> firstFailure = new CompletableFuture<>();
    /** Members of the current epoch that are connected, by rank. */
    private final TreeMap<Integer, Member> members = new TreeMap<>();

    private final Regroup regroup = new Regroup();
    private final long joinDeadlineNanos;
    private final int firstWorldSize;
    private int epoch = FIRST_EPOCH;
    private int worldSize;
    private boolean formed;
    /** Of the current epoch; null while it is whole. */
    private Failure failure;

    private Accusations accusations = new Accusations();

    private Membership(
            String jobId, int worldSize, ControlSettings settings, boolean reforms, Consumer<Hello> lostListener) {
        this.admission = new Admission(jobId);
        this.firstWorldSize = worldSize;
        this.worldSize = worldSize;
        this.settings = settings;
        this.reforms = reforms;
        this.lostListener = lostListener;
        this.joinDeadlineNanos = System.nanoTime() + settings.joinDeadline().toNanos();
    }

    /** Of a run that ends with its first failure. */
    static Membership ofOneEpoch(String jobId, int worldSize, ControlSettings settings) {
        return new Membership(jobId, worldSize, settings, false, lost -> {});
    }

    /**
     * Of a run in which survivors of a failure may form the next epoch.
     *
     * @param lostListener told of each member that is lost or shut out; must not block
     */
    static Membership ofEpochs(String jobId, int worldSize, ControlSettings settings, Consumer<Hello> lostListener) {
        return new Membership(jobId, worldSize, settings, true, lostListener);
    }

    /** Completes with the first failure of all, after it has been sent. */
    CompletableFuture<Failure> firstFailure() {
        return firstFailure;
    }

    /** Whether the run goes on with fewer ranks than it began with: no process can take a lost one's place then. */
    synchronized boolean hasShrunk() {
        return worldSize < firstWorldSize;
    }

    /** Whether no member is connected. */
    synchronized boolean isEmpty() {
        return members.isEmpty();
    }

    /** Whether nothing can come after a failure any more: the group never formed, or none of its members is left. */
    synchronized boolean isOver() {
        return failure != null && (!formed || members.isEmpty());
    }

    /**
     * Lets a rank in, and all of them start if it is the last one.
     *
     * @throws ProtocolException if it may not join; it has been told why
     */
    synchronized Member admit(Hello hello, ControlChannel channel) throws IOException {
        if (failure != null && !(formed && reforms)) {
            channel.send(FrameType.ABORT, new Verdict.Abort(epoch, failure).encode());
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
                new Verdict.Rhythm(settings.heartbeatInterval(), settings.heartbeatLimit(), reforms).encode());
        Member member = new Member(hello, channel);
        if (failure != null) {
            regroup.welcome(member);
            formNextIfComplete();
            return member;
        }
        members.put(hello.rank(), member);
        if (members.size() == worldSize) {
            formed = true;
            Audience.welcome(members.values(), epoch);
        }
        return member;
    }

    private String refusal(Hello hello) {
        String misfit = admission.refusal(hello, worldSize);
        if (misfit != null) {
            return misfit;
        }
        Member holder = members.get(hello.rank());
        if (holder != null) {
            return "rank " + hello.rank() + " is taken by process "
                    + holder.hello().pid() + " on " + holder.hello().host();
        }
        if (failure != null) {
            return regroup.hasNewcomer(hello.rank()) ? "another process waits for rank " + hello.rank() : null;
        }
        return formed ? "the group is complete: rank " + hello.rank() + " has left it already" : null;
    }

    /** A survivor wants to go on. */
    synchronized void reform(Member member, ReformRequest request) throws IOException {
        if (request.epoch() != epoch || members.get(member.rank()) != member) {
            throw new ProtocolException(
                    "epoch must match: coordinator=" + epoch + ", rank " + member.rank() + "=" + request.epoch());
        }
        if (!reforms) {
            Audience.refuse(member, "this run ends with its first failure");
            return;
        }
        if (failure == null) {
            fail(new Failure(member.rank(), "it asks for a new epoch"));
        }
        String disagreement = regroup.ask(member, request);
        if (disagreement != null) {
            Audience.refuse(member, disagreement);
            refuseSurvivors(disagreement);
        }
        formNextIfComplete();
    }

    private void formNextIfComplete() {
        List<Member> next = regroup.complete(members.size(), worldSize);
        if (next.isEmpty()) {
            return;
        }
        for (Member newcomer : regroup.newcomers()) {
            if (!next.contains(newcomer)) {
                dismiss(newcomer, "the group goes on without rank " + newcomer.rank());
            }
        }
        members.clear();
        for (Member member : next) {
            member.renumber(members.size());
            members.put(member.rank(), member);
        }
        regroup.forgetAll();
        accusations = new Accusations();
        failure = null;
        worldSize = members.size();
        epoch++;
        LOG.info("Epoch {} has {} ranks", epoch, worldSize);
        Audience.welcome(members.values(), epoch);
    }

    private void refuseSurvivors(String reason) {
        regroup.survivors().forEach(member -> Audience.refuse(member, reason));
        regroup.forgetRequests();
    }

    private void dismiss(Member member, String reason) {
        regroup.remove(member);
        members.remove(member.rank(), member);
        Audience.dismiss(member, epoch, reason);
        lostListener.accept(member.hello());
    }

    /** A member ends in good order. */
    synchronized void leave(Member member) {
        Audience.goodbye(member);
        boolean wasMember = members.remove(member.rank(), member);
        if (!formed) {
            fail(new Failure(member.rank(), "it left before the group was complete"));
        }
        gone(member, wasMember);
    }

    /** A member's process or connection has ended, or is silent. Does nothing for one that was dismissed. */
    synchronized void lost(Member member, String reason) {
        boolean isMember = members.get(member.rank()) == member;
        if (isMember) {
            fail(new Failure(member.rank(), reason));
        }
        boolean counts = isMember || regroup.contains(member);
        members.remove(member.rank(), member);
        if (formed && counts) {
            lostListener.accept(member.hello());
            gone(member, isMember);
        }
    }

    private void gone(Member member, boolean wasMember) {
        regroup.remove(member);
        if (wasMember && failure != null) {
            formNextIfComplete();
        }
        if (isOver()) {
            regroup.newcomers().forEach(newcomer -> dismiss(newcomer, "no member of the group is left"));
        }
    }

    /** A call of a member has failed. The others get a moment to say what they know. */
    synchronized void report(Member reporter, Verdict.Abort abort) {
        if (failure != null || abort.epoch() != epoch || members.get(reporter.rank()) != reporter) {
            return; // a call of an earlier epoch may end late
        }
        Failure noticed = abort.failure();
        if (Accusations.isConfession(reporter.rank(), noticed)) {
            fail(noticed);
            return;
        }
        accusations.add(reporter.rank(), noticed);
        if (accusations.isDue(worldSize)) {
            fail(accusations.verdict(worldSize));
        }
    }

    /** The first failure of an epoch is sent to all members, the failed one included: it may only have been stopped. */
    synchronized void fail(Failure cause) {
        Objects.requireNonNull(cause, "cause");
        if (failure != null) {
            return;
        }
        failure = cause;
        Audience.abort(members.values(), epoch, cause);
        firstFailure.complete(cause);
    }

    /** To be called every heartbeat interval. */
    synchronized void tick() {
        Audience.heartbeat(members.values());
        Audience.heartbeat(regroup.newcomers());
        if (!formed && failure == null && System.nanoTime() - joinDeadlineNanos >= 0) {
            joinDeadlinePassed();
        }
        if (failure == null && accusations.isDue(worldSize)) {
            fail(accusations.verdict(worldSize));
        }
        if (regroup.isOverdue()) {
            regroupOverdue();
        }
        long patience = settings.joinDeadline().toNanos();
        regroup.newcomers().stream()
                .filter(newcomer -> newcomer.ageNanos() >= patience)
                .forEach(newcomer -> dismiss(newcomer, "the survivors did not ask for a new epoch in time"));
    }

    private void regroupOverdue() {
        String within = " within " + regroup.patience().toMillis() + " ms";
        if (regroup.how() == Reform.REPLACE) {
            refuseSurvivors("all " + worldSize + " ranks must be there again" + within + ": missing "
                    + join(regroup.missing(worldSize)));
            return;
        }
        for (Member member : List.copyOf(members.values())) {
            if (!regroup.hasAsked(member)) {
                dismiss(member, "it did not ask to go on" + within);
            }
        }
        formNextIfComplete();
    }

    private void joinDeadlinePassed() {
        List<Integer> missing = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            if (!members.containsKey(rank)) {
                missing.add(rank);
            }
        }
        fail(new Failure(
                missing.get(0),
                "all " + worldSize + " ranks must join within "
                        + settings.joinDeadline().toMillis() + " ms: missing " + join(missing)));
    }

    private static String join(List<Integer> ranks) {
        return String.join(", ", ranks.stream().map(String::valueOf).toList());
    }
}
