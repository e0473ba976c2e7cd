package io.github.treeattention.collective.dataplane;

import io.github.treeattention.collective.aeron.UdpEndpoint;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Where other ranks reach one of them; travels through the rendezvous as text. Immutable.
 *
 * @param tcp where it listens for TCP links, if it does
 * @param udp where its media driver listens for Aeron UDP links, if it does
 */
record Endpoints(Optional<InetSocketAddress> tcp, Optional<UdpEndpoint.Address> udp) {
    private static final String ADDRESS = "([0-9.]{7,15}|[0-9a-f:.]{2,45})/([0-9]{1,5})";
    private static final Pattern TEXT =
            Pattern.compile("(?:tcp=" + ADDRESS + ")?(?: ?udp=" + ADDRESS + "/([0-9]{3,4}))?");

    String encode() {
        return Stream.of(
                        tcp.map(address -> "tcp=" + text(address)),
                        udp.map(at -> "udp=" + text(at.socket()) + "/" + at.mtu()))
                .flatMap(Optional::stream)
                .collect(Collectors.joining(" "));
    }

    private static String text(InetSocketAddress address) {
        return text(address.getAddress()) + "/" + address.getPort();
    }

    /** @throws IllegalArgumentException if another version or a stranger wrote it */
    static Endpoints decode(String text) {
        Matcher matcher = TEXT.matcher(text);
        try {
            if (matcher.matches()) {
                return new Endpoints(
                        address(matcher, 1),
                        address(matcher, 3)
                                .map(socket -> new UdpEndpoint.Address(socket, Integer.parseInt(matcher.group(5)))));
            }
        } catch (UnknownHostException | IllegalArgumentException e) {
            throw malformed(text, e);
        }
        throw malformed(text, null);
    }

    private static Optional<InetSocketAddress> address(Matcher matcher, int group) throws UnknownHostException {
        if (matcher.group(group) == null) {
            return Optional.empty();
        }
        // Digits, dots and colons are never looked up.
        InetAddress address = InetAddress.getByName(matcher.group(group));
        return Optional.of(new InetSocketAddress(address, Integer.parseInt(matcher.group(group + 1))));
    }

    private static IllegalArgumentException malformed(String text, Exception cause) {
        return new IllegalArgumentException(
                "endpoints must be tcp=ADDRESS/PORT or udp=ADDRESS/PORT/MTU or both: got '" + text + "'", cause);
    }

    /** The address in digits. */
    static String text(InetAddress address) {
        String text = address.getHostAddress();
        int scope = text.indexOf('%');
        return scope < 0 ? text : text.substring(0, scope);
    }
}
