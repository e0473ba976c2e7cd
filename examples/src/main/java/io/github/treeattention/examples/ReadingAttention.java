package io.github.treeattention.examples;

import io.github.treeattention.attention.AttentionEnergy;
import io.github.treeattention.attention.AttentionEnergy.Order;
import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.EnergyState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.attention.TopKeys;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.DistributedAttention;
import io.github.treeattention.distributed.TreeEnergy;
import java.util.ArrayList;
import java.util.List;

/**
 * Attention that, when asked to, also tells what it read: for each call, and so for each layer in turn, the energy with
 * its entropy and the likeliest keys, over the keys of all ranks. Batches of one sequence only.
 */
final class ReadingAttention implements DistributedAttention {
    private final DistributedAttention attention;
    private final TreeEnergy energies;
    private final int most;
    private List<Reading> readings;

    /**
     * What one call read.
     *
     * @param state energy and gradients of each head and query
     * @param top the likeliest keys of each head and query
     */
    record Reading(EnergyState state, TopKeys top) {}

    /**
     * @param attention what computes
     * @param communicator the one that {@code attention} uses
     * @param most keys to keep of each query
     */
    ReadingAttention(DistributedAttention attention, Communicator communicator, int most) {
        this.attention = attention;
        this.energies = new TreeEnergy(communicator);
        this.most = most;
    }

    /** Starts a new list of readings, which grows by one with each further call. All ranks must ask at the same call. */
    List<Reading> record() {
        readings = new ArrayList<>();
        return readings;
    }

    @Override
    public void attend(AttentionSpec spec, Queries queries, List<KvShard> shards, AttentionState state) {
        attention.attend(spec, queries, shards, state);
        if (readings == null) {
            return;
        }
        if (shards.size() != 1) {
            throw new IllegalArgumentException("readings are of one sequence: want 1 shard, got " + shards.size());
        }
        double[] q = new double[queries.heads() * queries.count() * queries.headDim()];
        for (int i = 0; i < q.length; i++) {
            q[i] = queries.values().get(i);
        }
        AttentionEnergy energy = AttentionEnergy.of(spec, q, queries.count(), queries.firstPosition(0));
        AttentionEnergy.Keys keys = TreeEnergy.keysOf(shards.get(0));
        readings.add(new Reading(energies.evaluate(energy, keys, Order.GRADIENT), energies.top(energy, keys, most)));
    }
}
