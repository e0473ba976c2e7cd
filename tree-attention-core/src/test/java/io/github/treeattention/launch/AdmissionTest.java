package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.launch.Verdict.Members;
import java.util.Collections;
import java.util.List;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AdmissionTest {
    private final Admission admission = new Admission("job");

    private static Hello hello(int worldSize, String host, String endpoints) {
        return new Hello(LibraryVersion.CURRENT, "job", 0, worldSize, host, endpoints, 1, new TreeMap<>());
    }

    /** Else the last rank to come would break the group that it completes. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 64, 127, 128, 1_000})
    void shouldTakeNoMoreThanFitsInOneFrame(int worldSize) throws Exception {
        int most = Admission.mostTextBytes(worldSize);
        String longest = "x".repeat(most);
        assertNull(admission.refusal(hello(worldSize, longest, longest), worldSize));
        List<String> texts = Collections.nCopies(worldSize, longest);
        byte[] welcome = new Members(0, 1, 1, texts, texts).encode();
        assertTrue(welcome.length <= ControlChannel.MAX_PAYLOAD, welcome.length + " bytes");
        assertEquals(texts, Members.decode(welcome).endpoints());
        assertEquals(
                "endpoints must have at most " + most + " bytes: got " + (most + 1),
                admission.refusal(hello(worldSize, longest, longest + "x"), worldSize));
        String twoBytesEach = "ü".repeat(most / 2 + 1);
        assertEquals(
                "host must have at most " + most + " bytes: got " + 2 * twoBytesEach.length(),
                admission.refusal(hello(worldSize, twoBytesEach, ""), worldSize));
    }

    @Test
    void shouldLeaveRoomForNamesAndAddressesInLargeGroups() {
        assertEquals(255, Admission.mostTextBytes(64));
        assertTrue(Admission.mostTextBytes(300) > 100);
    }
}
