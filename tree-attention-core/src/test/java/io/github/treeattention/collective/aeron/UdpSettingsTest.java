package io.github.treeattention.collective.aeron;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.StandardSocketOptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class UdpSettingsTest {
    private static UdpSettings settings(int datagram, int localRanks, int farRanks, int most) throws IOException {
        return UdpSettings.of(datagram, localRanks, farRanks, (buffer, wanted) -> Math.min(wanted, most));
    }

    @Test
    void shouldFillAnEthernetPacketAndHalfTheSocketsBuffer() throws Exception {
        assertEquals(new UdpSettings(1472, 1 << 20, 53_248, 212_992, 212_992), settings(1500 - 28, 2, 2, 212_992));
        assertEquals(new UdpSettings(8960, 1 << 20, 1 << 19, 2 << 20, 1 << 20), settings(65_536 - 28, 2, 2, 4 << 20));
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "2, 2", "8, 8", "8, 24", "1, 63", "32, 32"})
    void shouldNeverPromiseMoreThanHalfTheBuffer(int localRanks, int farRanks) throws Exception {
        UdpSettings settings = settings(1472, localRanks, farRanks, 8 << 20);
        assertTrue(2L * farRanks * settings.window() <= settings.receiveBuffer(), settings::toString);
        assertTrue(settings.window() <= settings.termLength() / 2, settings::toString);
        assertTrue(settings.termLength() / 8 >= UdpLink.MAX_MESSAGE_LENGTH, settings::toString);
        long logs = 2L * localRanks * farRanks;
        assertEquals(3 * logs * settings.termLength(), UdpSettings.requiredBytes(localRanks, farRanks));
    }

    @Test
    void shouldShortenTermsRatherThanFillTheMemory() {
        assertEquals((2L * 3 * 4 * 4) << 20, UdpSettings.requiredBytes(4, 4));
        assertEquals((2L * 3 * 8 * 8) << 18, UdpSettings.requiredBytes(8, 8));
    }

    @Test
    void shouldNameTheRemedyWhereTheSystemAllowsTooLittle() throws Exception {
        IOException small = assertThrows(IOException.class, () -> settings(1472, 2, 8, 212_992));
        assertTrue(small.getMessage().contains("grants 212992"), small.getMessage());
        assertTrue(small.getMessage().contains("sysctl -w net.core.rmem_max=8388608"), small.getMessage());
        assertEquals(8 << 20, settings(1472, 2, 8, 8 << 20).receiveBuffer(), "the remedy must be enough");
        IOException narrow = assertThrows(IOException.class, () -> settings(300, 1, 1, 1 << 20));
        assertTrue(narrow.getMessage().contains("raise its MTU"), narrow.getMessage());
        IOException send = assertThrows(
                IOException.class,
                () -> UdpSettings.of(
                        8960, 1, 1, (buffer, wanted) -> buffer == StandardSocketOptions.SO_SNDBUF ? 4096 : wanted));
        assertTrue(send.getMessage().contains("net.core.wmem_max"), send.getMessage());
    }
}
