package io.github.treeattention.collective.dataplane;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.charset.StandardCharsets;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever a rank says about where it can be reached: no name is looked up, and what is understood can be said again. */
@Tag("fuzz")
class EndpointsFuzzTest {
    static Stream<byte[]> seeds() {
        return Stream.of("tcp=10.0.0.1/80 udp=10.0.0.1/81/1408", "udp=fe80:0:0:0:0:0:0:1/65535/512", "tcp=::1/9")
                .map(text -> text.getBytes(StandardCharsets.UTF_8));
    }

    @MethodSource("seeds")
    @FuzzTest(maxDuration = "60s")
    void shouldUnderstandOrRefuse(byte[] bytes) {
        String text = new String(bytes, StandardCharsets.UTF_8);
        Endpoints endpoints;
        try {
            endpoints = Endpoints.decode(text);
        } catch (IllegalArgumentException refused) {
            return;
        }
        assertEquals(endpoints, Endpoints.decode(endpoints.encode()));
    }
}
