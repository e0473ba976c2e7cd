package io.github.treeattention.launch;

import io.github.treeattention.collective.AbortSignal.Failure;
import io.github.treeattention.collective.CollectiveException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What a rank does about a call that has failed: it says so, and believes the coordinator, which has heard the others too. */
final class FailureReport {
    private static final Logger LOG = LoggerFactory.getLogger(FailureReport.class);

    private FailureReport() {}

    /**
     * Reports a failed call, and waits for the verdict.
     *
     * @param failed the epoch whose call it was, perhaps not the current one
     * @param noticed what the call says
     * @param report tells the coordinator
     * @param patienceMillis how long to wait; without a verdict the call is right
     * @return the exception to throw: the same, or one that blames whom the coordinator blames
     */
    static CollectiveException settle(
            Epoch failed, CollectiveException noticed, Consumer<Failure> report, long patienceMillis) {
        // Who hears of it adds its own operation to the reason, which comes after the first colon.
        String message = noticed.getMessage();
        Failure own = new Failure(noticed.failedRank(), message.substring(message.indexOf(": ") + 2));
        if (failed.failure().isEmpty()) {
            report.accept(own);
        }
        Failure verdict = await(failed, own, patienceMillis);
        boolean knowsMore =
                verdict.rank() >= 0 && verdict.rank() < failed.group().worldSize();
        if (verdict.rank() == noticed.failedRank() || !knowsMore) {
            return noticed;
        }
        return new CollectiveException(
                verdict.rank(),
                failed.group().host(verdict.rank()),
                noticed.operation(),
                noticed.sequence(),
                verdict.reason(),
                noticed);
    }

    private static Failure await(Epoch failed, Failure own, long patienceMillis) {
        try {
            return failed.whenFailed().get(patienceMillis, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (TimeoutException | ExecutionException e) {
            LOG.debug("No verdict from the coordinator", e);
        }
        failed.fail(own);
        return failed.whenFailed().join();
    }
}
