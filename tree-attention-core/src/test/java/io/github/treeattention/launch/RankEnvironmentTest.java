package io.github.treeattention.launch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(10)
class RankEnvironmentTest {
    private static final RankEnvironment EXAMPLE = new RankEnvironment(
            2,
            4,
            0,
            2,
            "10.1.2.3",
            29500,
            "job-7",
            "secret",
            Path.of("/dev/shm/x/aeron"),
            Duration.ofSeconds(3),
            true,
            DataPlaneOptions.defaults());

    @Test
    void shouldReadBackWhatItWrites() {
        assertEquals(EXAMPLE, RankEnvironment.from(EXAMPLE.toVariables()));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "RANK",
                "WORLD_SIZE",
                "LOCAL_RANK",
                "LOCAL_WORLD_SIZE",
                "MASTER_ADDR",
                "MASTER_PORT",
                "TREEATTN_JOB_ID",
                "TREEATTN_TOKEN"
            })
    void shouldNameTheVariableThatIsMissing(String name) {
        Map<String, String> variables = new HashMap<>(EXAMPLE.toVariables());
        variables.remove(name);
        assertEquals(
                name
                        + " must be set in the environment: got nothing (is this process started by 'treeattn launch'? otherwise"
                        + " see docs/deployment.md)",
                message(variables));
        variables.put(name, " ");
        assertEquals(
                name
                        + " must be set in the environment: got an empty value (is this process started by 'treeattn"
                        + " launch'? otherwise see docs/deployment.md)",
                message(variables));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            textBlock =
                    """
                    RANK | two | RANK must be a whole number: got 'two'
                    RANK | 4 | RANK must be 0..3: got 4
                    RANK | -1 | RANK must be 0..3: got -1
                    WORLD_SIZE | 65 | WORLD_SIZE must be 1..64: got 65
                    WORLD_SIZE | 0 | WORLD_SIZE must be 1..64: got 0
                    LOCAL_WORLD_SIZE | 5 | LOCAL_WORLD_SIZE must be 1..4: got 5
                    LOCAL_RANK | 2 | LOCAL_RANK must be 0..1: got 2
                    MASTER_PORT | 65536 | MASTER_PORT must be 1..65535: got 65536
                    MASTER_PORT | 99999999999 | MASTER_PORT must be a whole number: got '99999999999'
                    TREEATTN_JOB_ID | ../x | TREEATTN_JOB_ID must be 1 to 64 letters, digits, '.', '_' or '-': got '../x'
                    """)
    void shouldSayWhatIsWrong(String name, String value, String message) {
        Map<String, String> variables = new HashMap<>(EXAMPLE.toVariables());
        variables.put(name, value);
        assertEquals(message, message(variables));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=0 OMPI_COMM_WORLD_LOCAL_SIZE=2",
                "SLURM_PROCID=2 SLURM_NTASKS=4 SLURM_LOCALID=0 SLURM_NTASKS_PER_NODE=2",
                "SLURM_PROCID=9 SLURM_NTASKS=9 OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=0"
                        + " OMPI_COMM_WORLD_LOCAL_SIZE=2",
                "SLURM_PROCID=2 SLURM_NTASKS=4 SLURM_LOCALID=0 SLURM_NODEID=2 SLURM_STEP_TASKS_PER_NODE=1(x2),2"
                        + " SLURM_TASKS_PER_NODE=4 SLURM_NTASKS_PER_NODE=9",
                "JOB_COMPLETION_INDEX=2 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2",
                "RANK=2 WORLD_SIZE=4 LOCAL_RANK=0 LOCAL_WORLD_SIZE=2 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_LOCALID=0",
            })
    void shouldUnderstandOtherStarters(String theirs) {
        Map<String, String> variables = new HashMap<>(EXAMPLE.toVariables());
        variables.keySet().removeAll(Set.of("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"));
        for (String assignment : theirs.split(" ", -1)) {
            variables.put(assignment.substring(0, assignment.indexOf('=')), assignment.replaceFirst(".*=", ""));
        }
        assertEquals(EXAMPLE, RankEnvironment.from(variables));
    }

    @Test
    void shouldDoWithoutALauncher() {
        Map<String, String> scheduled = new HashMap<>(EXAMPLE.toVariables());
        scheduled.keySet().removeAll(Set.of("TREEATTN_AERON_DIR", "TREEATTN_JOB_ID", "MASTER_PORT"));
        RankEnvironment environment = RankEnvironment.from(scheduled);
        assertFalse(environment.launched());
        assertEquals(29500, environment.masterPort());
        assertEquals(environment, RankEnvironment.from(scheduled), "the same in every rank of a host");
        scheduled.put("TREEATTN_TOKEN", "another");
        assertNotEquals(environment.jobId(), RankEnvironment.from(scheduled).jobId());
        scheduled.putAll(Map.of("TREEATTN_TRANSPORT", "tcp", "TREEATTN_INTERFACE", "eth1"));
        assertEquals(
                DataPlaneOptions.defaults()
                        .withLinks(DataPlaneOptions.Links.TCP)
                        .withNetworkInterface("eth1"),
                RankEnvironment.from(scheduled).dataPlane());
        scheduled.put("TREEATTN_TRANSPORT", "pigeon");
        assertEquals("TREEATTN_TRANSPORT must be one of [auto, udp, tcp, tcp-only]: got 'pigeon'", message(scheduled));
    }

    @Test
    void shouldNotPrintTheToken() {
        assertFalse(EXAMPLE.toString().contains("secret"));
    }

    private static String message(Map<String, String> variables) {
        return assertThrows(IllegalArgumentException.class, () -> RankEnvironment.from(variables))
                .getMessage();
    }
}
