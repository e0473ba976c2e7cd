package io.github.treeattention.collective.dataplane;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.treeattention.collective.Calibration;
import org.junit.jupiter.api.Test;

class LinkTrialTest {
    private static Calibration.Link link(double latencySeconds, double bytesPerSecond) {
        return new Calibration.Link(Calibration.Kind.OTHER_HOST, latencySeconds, bytesPerSecond);
    }

    @Test
    void shouldTakeTheFasterLink() {
        assertTrue(LinkTrial.isFaster(link(1e-5, 1e9), link(2e-5, 1e9)));
        assertFalse(LinkTrial.isFaster(link(2e-5, 1e9), link(1e-5, 1e9)));
        assertTrue(LinkTrial.isFaster(link(1e-5, 2e9), link(1e-5, 1e9)));
        assertFalse(LinkTrial.isFaster(link(1e-5, 1e9), link(1e-5, 1e9)), "TCP where both are alike");
    }

    @Test
    void shouldWeighShortAndLongMessagesAlike() {
        // 16.5 KB: 27 us and 117 us; 1 MiB: 1059 us and 620 us.
        assertTrue(
                LinkTrial.isFaster(link(1e-5, 1e9), link(1e-4, 2e9)), "much faster at short ones, slower at long ones");
        // 27 us and 37 us; 1 MiB: 1059 us and 282 us.
        assertFalse(LinkTrial.isFaster(link(1e-5, 1e9), link(2e-5, 4e9)), "a little faster, much slower");
    }
}
