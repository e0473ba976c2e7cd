package io.github.treeattention.collective;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;

/** One collective call of one member, for Java Flight Recorder. Costs nothing while nothing records it. */
@Name("treeattention.Collective")
@Label("Collective operation")
@Description("A collective call of one rank, from its start until its result or failure")
@Category("tree-attention")
@StackTrace(false)
final class CollectiveEvent extends Event {
    @Label("Rank")
    int rank;

    @Label("Epoch")
    int epoch;

    @Label("Operation")
    String operation;

    @Label("Algorithm")
    @Description("Of an allReduce or a barrier; else AUTO")
    String algorithm;

    @Label("Sequence")
    @Description("Number of the operation in its epoch, the same on all ranks")
    long sequence;

    @Label("Sent")
    @Description("Payload that this rank sent")
    @DataAmount
    long sentBytes;

    @Label("Waited")
    @Timespan(Timespan.NANOSECONDS)
    long waited;

    @Label("Failure")
    @Description("Why it failed; null if it did not")
    String failure;
}
