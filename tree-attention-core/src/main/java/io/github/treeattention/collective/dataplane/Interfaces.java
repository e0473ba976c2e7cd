package io.github.treeattention.collective.dataplane;

import java.io.IOException;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.util.Collections;
import java.util.List;
import java.util.stream.Collectors;

/** This host's addresses, without asking a name server. */
final class Interfaces {
    private Interfaces() {}

    /**
     * The address of an interface; of several, the first of IPv4.
     *
     * @param nameOrAddress such as {@code eth0} or {@code 10.1.2.3}
     * @throws IOException if this host has none such; names those it has
     */
    static InetAddress addressOf(String nameOrAddress) throws IOException {
        for (NetworkInterface candidate : Collections.list(NetworkInterface.getNetworkInterfaces())) {
            List<InetAddress> addresses = Collections.list(candidate.getInetAddresses());
            if (candidate.getName().equals(nameOrAddress) && !addresses.isEmpty()) {
                return addresses.stream()
                        .filter(Inet4Address.class::isInstance)
                        .findFirst()
                        .orElse(addresses.get(0));
            }
            for (InetAddress address : addresses) {
                if (Endpoints.text(address).equals(nameOrAddress)) {
                    return address;
                }
            }
        }
        throw new IOException("the interface must be the name or address of one of this host's: got '" + nameOrAddress
                + "', has " + known());
    }

    private static String known() throws IOException {
        return Collections.list(NetworkInterface.getNetworkInterfaces()).stream()
                .flatMap(one -> Collections.list(one.getInetAddresses()).stream()
                        .map(address -> one.getName() + " " + Endpoints.text(address)))
                .collect(Collectors.joining(", "));
    }
}
