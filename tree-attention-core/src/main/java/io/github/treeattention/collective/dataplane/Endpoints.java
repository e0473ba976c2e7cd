package io.github.treeattention.collective.dataplane;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where other ranks reach one of them; travels through the rendezvous as text. Immutable.
 *
 * @param tcp where it listens, if it does
 */
record Endpoints(Optional<InetSocketAddress> tcp) {
    private static final Pattern TCP = Pattern.compile("tcp=([0-9.]{7,15}|[0-9a-f:.]{2,45})/([0-9]{1,5})");

    String encode() {
        return tcp.map(address -> "tcp=" + text(address.getAddress()) + "/" + address.getPort())
                .orElse("");
    }

    /** @throws IllegalArgumentException if another version or a stranger wrote it */
    static Endpoints decode(String text) {
        if (text.isEmpty()) {
            return new Endpoints(Optional.empty());
        }
        Matcher matcher = TCP.matcher(text);
        if (matcher.matches()) {
            try {
                // Digits, dots and colons are never looked up.
                InetAddress address = InetAddress.getByName(matcher.group(1));
                return new Endpoints(Optional.of(new InetSocketAddress(address, Integer.parseInt(matcher.group(2)))));
            } catch (UnknownHostException | IllegalArgumentException e) {
                throw new IllegalArgumentException("an endpoint must be tcp=ADDRESS/PORT: got '" + text + "'", e);
            }
        }
        throw new IllegalArgumentException("an endpoint must be tcp=ADDRESS/PORT: got '" + text + "'");
    }

    /** The address in digits. */
    static String text(InetAddress address) {
        String text = address.getHostAddress();
        int scope = text.indexOf('%');
        return scope < 0 ? text : text.substring(0, scope);
    }
}
