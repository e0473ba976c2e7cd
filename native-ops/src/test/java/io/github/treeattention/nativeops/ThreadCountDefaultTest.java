package io.github.treeattention.nativeops;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Ranks that share a host share its cores. */
class ThreadCountDefaultTest {
    @ParameterizedTest
    @CsvSource(
            textBlock =
                    """
                    # environment, pinned, usable, cores, wanted
                    '', 8, 8, 8, 8
                    LOCAL_WORLD_SIZE=1, 8, 8, 8, 8
                    LOCAL_WORLD_SIZE=4, 8, 8, 8, 2
                    LOCAL_WORLD_SIZE=3, 8, 8, 8, 2
                    LOCAL_WORLD_SIZE=9, 8, 8, 8, 1
                    OMPI_COMM_WORLD_LOCAL_SIZE=2, 8, 8, 8, 4
                    SLURM_NTASKS_PER_NODE=2, 8, 8, 8, 4
                    LOCAL_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_SIZE=2, 8, 8, 8, 2
                    LOCAL_WORLD_SIZE=many OMPI_COMM_WORLD_LOCAL_SIZE=2, 8, 8, 8, 4
                    LOCAL_WORLD_SIZE=0, 8, 8, 8, 8
                    # pinned: the cores are this rank's own
                    SLURM_NTASKS_PER_NODE=8, 4, 4, 32, 4
                    SLURM_NTASKS_PER_NODE=8, 2, 2, 32, 2
                    SLURM_NTASKS_PER_NODE=8, 16, 16, 32, 4
                    # a quota: the ranks' together
                    '', 64, 2, 64, 2
                    LOCAL_WORLD_SIZE=1, 64, 2, 64, 2
                    LOCAL_WORLD_SIZE=4, 32, 4, 32, 1
                    LOCAL_WORLD_SIZE=4, 32, 8, 32, 2
                    LOCAL_WORLD_SIZE=4, 32, 31, 32, 7
                    LOCAL_WORLD_SIZE=4, 32, 3, 32, 1
                    # both
                    LOCAL_WORLD_SIZE=2, 8, 6, 64, 3
                    """)
    void shouldDivideTheCoresOfTheHost(String variables, int pinned, int usable, int cores, int wanted) {
        Map<String, String> environment = new TreeMap<>();
        for (String variable : variables.isEmpty() ? new String[0] : variables.split(" ", -1)) {
            environment.put(variable.split("=", -1)[0], variable.split("=", -1)[1]);
        }
        assertEquals(wanted, ThreadCount.of(environment, pinned, usable, cores));
    }

    @Test
    void shouldCountTheCoresThatTheProcessIsPinnedTo() {
        String before = "Name:\tjava\nCpus_allowed_list:\t0-99\n";
        assertEquals(2, ThreadCount.pinned(before + "Cpus_allowed:\t3\n", 7));
        assertEquals(37, ThreadCount.pinned(before + "Cpus_allowed:\t1f,ffffffff\nMems_allowed:\t1\n", 7));
        assertEquals(1, ThreadCount.pinned("Cpus_allowed:\t00000000,00000000,08000000\n", 7));
        assertEquals(7, ThreadCount.pinned(before, 7), "untold");
    }

    /** The cores of this JVM itself, which nothing limits but where it was pinned or has a quota. */
    @Test
    void shouldNotBeFewerThanTheJvmMayUse() {
        int usable = Runtime.getRuntime().availableProcessors();
        int pinned = ThreadCount.pinned(-1);
        assertTrue(pinned == -1 || pinned >= usable, () -> pinned + " pinned, " + usable + " usable");
    }
}
