package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.launch.Verdict.Members;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.Collection;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Says to members what was decided. Nothing that goes wrong here is reported to whoever decides: the thread that reads
 * from a member sees that it is lost. Frames are small enough never to block ({@link ControlChannel#send}).
 */
final class Audience {
    private static final Logger LOG = LoggerFactory.getLogger(Audience.class);
    private static final byte[] NOTHING = {};
    private static final SecureRandom RANDOM = new SecureRandom();

    private Audience() {}

    static void heartbeat(Collection<Member> members) {
        members.forEach(member -> send(member, FrameType.HEARTBEAT, NOTHING));
    }

    static void goodbye(Member member) {
        send(member, FrameType.GOODBYE, NOTHING);
    }

    static void refuse(Member member, String reason) {
        send(member, FrameType.REFUSED, Verdict.encode(reason));
    }

    static void abort(Collection<Member> members, int epoch, Failure failure) {
        byte[] payload = new Verdict.Abort(epoch, failure).encode();
        members.forEach(member -> send(member, FrameType.ABORT, payload));
    }

    /** An epoch has formed, of these members by rank. */
    static void welcome(Collection<Member> members, int epoch) {
        List<String> hosts = members.stream().map(m -> m.hello().host()).toList();
        List<String> endpoints =
                members.stream().map(m -> m.hello().endpoints()).toList();
        long groupId = RANDOM.nextLong();
        for (Member member : members) {
            byte[] payload = new Members(member.rank(), epoch, groupId, hosts, endpoints).encode();
            send(member, FrameType.WELCOME, payload);
        }
    }

    /** The last that a member hears. */
    static void dismiss(Member member, int epoch, String reason) {
        abort(List.of(member), epoch, new Failure(member.rank(), reason));
        try {
            member.channel().close();
        } catch (IOException e) {
            LOG.debug("The connection to rank {} did not close", member.rank(), e);
        }
    }

    private static void send(Member member, FrameType type, byte[] payload) {
        try {
            member.channel().send(type, payload);
        } catch (IOException e) {
            LOG.debug("{} did not reach rank {}", type, member.rank());
        }
    }
}
