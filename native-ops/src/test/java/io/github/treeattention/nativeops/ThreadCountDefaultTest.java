package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Ranks that share a host share its cores. */
class ThreadCountDefaultTest {
    @ParameterizedTest
    @CsvSource(
            textBlock =
                    """
                    '', 8, 8, 8
                    LOCAL_WORLD_SIZE=1, 8, 8, 8
                    LOCAL_WORLD_SIZE=4, 8, 8, 2
                    LOCAL_WORLD_SIZE=3, 8, 8, 2
                    LOCAL_WORLD_SIZE=9, 8, 8, 1
                    OMPI_COMM_WORLD_LOCAL_SIZE=2, 8, 8, 4
                    SLURM_NTASKS_PER_NODE=2, 8, 8, 4
                    LOCAL_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_SIZE=2, 8, 8, 2
                    LOCAL_WORLD_SIZE=many OMPI_COMM_WORLD_LOCAL_SIZE=2, 8, 8, 4
                    LOCAL_WORLD_SIZE=0, 8, 8, 8
                    SLURM_NTASKS_PER_NODE=8, 4, 32, 4
                    SLURM_NTASKS_PER_NODE=8, 16, 32, 4
                    LOCAL_WORLD_SIZE=1, 2, 64, 2
                    """)
    void shouldDivideTheCoresOfTheHost(String variables, int usable, int cores, int wanted) {
        Map<String, String> environment = new TreeMap<>();
        for (String variable : variables.isEmpty() ? new String[0] : variables.split(" ", -1)) {
            environment.put(variable.split("=", -1)[0], variable.split("=", -1)[1]);
        }
        assertEquals(wanted, ThreadCount.of(environment, usable, cores));
    }
}
