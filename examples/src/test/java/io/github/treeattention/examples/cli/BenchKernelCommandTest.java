package io.github.treeattention.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.examples.bench.KernelCase;
import org.junit.jupiter.api.Test;

class BenchKernelCommandTest {
    @Test
    void shouldReportEveryCaseOfEveryKernel() throws Exception {
        Treeattn bench = Treeattn.run(
                "bench",
                "kernel",
                "--heads",
                "4",
                "--kv-heads",
                "2",
                "--dim",
                "16",
                "--length",
                "7,130",
                "--runs",
                "1",
                "--kernels",
                "java",
                "--kv-dtype",
                "bf16",
                "--page-size",
                "16",
                "--json");
        assertEquals(0, bench.exitCode(), bench::toString);
        JsonNode rows = new ObjectMapper().readTree(bench.out()).get("rows");
        assertEquals(6, rows.size());
        for (JsonNode row : rows) {
            assertEquals("java", row.get("kernel").asText());
            assertTrue(row.get("medianMs").asDouble() > 0, row::toString);
            assertTrue(row.get("rate").asDouble() > 0, row::toString);
        }
    }

    @Test
    void shouldCountUsefulWorkOnly() {
        KernelCase decode = new KernelCase(KernelCase.Mode.DECODE, 32, 8, 128, 1000, KvType.BF16, 64);
        assertEquals(2.0 * 8 * 1000 * 128 * 2, decode.bytes());
        assertEquals(4.0 * 32 * 128 * 1000, decode.flops());
        KernelCase prefill = new KernelCase(KernelCase.Mode.PREFILL, 2, 2, 8, 3, KvType.F32, 3);
        assertEquals(4.0 * 2 * 8 * 6, prefill.flops(), "three queries see one, two and three keys");
        KernelCase train = new KernelCase(KernelCase.Mode.TRAIN, 2, 2, 8, 3, KvType.F32, 3);
        assertEquals(3.5 * prefill.flops(), train.flops());
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run("bench").assertBadInput("what to measure is missing");
        Treeattn.run("bench", "kernel", "--kv-heads", "5").assertBadInput("--kv-heads must divide --heads");
        Treeattn.run("bench", "kernel", "--length", "0").assertBadInput("--length must be at least 1");
        Treeattn.run("bench", "kernel", "--kernels", "abacus").assertBadInput("abacus");
        Treeattn.run("bench", "kernel", "--page-size", "0").assertBadInput("--page-size must be at least 1");
        Treeattn.run("bench", "kernel", "--runs", "0").assertBadInput("--runs must be at least 1: got 0");
    }
}
