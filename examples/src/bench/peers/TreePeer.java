import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.AttentionState;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.KvShard;
import io.github.treeattention.cache.KvType;
import io.github.treeattention.kernel.AttentionGradients;
import io.github.treeattention.kernel.AttentionKernel;
import io.github.treeattention.kernel.AttentionKernels;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/** Ours, on keys in plain memory, head-major, as the others have them. */
final class TreePeer implements Peer {
    private final AttentionKernel kernel = AttentionKernels.named("native");

    @Override
    public String name() {
        return "tree-attention, " + kernel.description();
    }

    @Override
    public boolean knows(Shapes s) {
        return true;
    }

    @Override
    public Call prepare(Shapes s, float[] q, float[] k, float[] v) {
        KvType type = s.bytes() == 4 ? KvType.F32 : s.half() ? KvType.F16 : KvType.BF16;
        AttentionSpec spec = AttentionSpec.of(s.heads(), s.kvHeads(), s.dim()).withCausal(true);
        KvLayout layout = new KvLayout(1, s.kvHeads(), s.dim(), s.dim(), type, s.length());
        List<KvShard> shards = List.of(KvShard.dense(layout, encode(k, type), encode(v, type), 0, s.length()));
        int n = s.queries();
        Queries queries = new Queries(Queries.allocate(q.length).put(q).rewind(), 1, s.heads(), n, s.dim(), s.length() - n);
        AttentionState state = AttentionState.empty(1, s.heads(), n, s.dim());
        boolean train = s.mode() == Shapes.Mode.TRAIN;
        AttentionState gradient = train ? AttentionState.empty(1, s.heads(), n, s.dim()) : null;
        for (int i = 0; train && i < gradient.rows().capacity(); i++) {
            int row = i / gradient.rowLength(), d = i % gradient.rowLength();
            gradient.rows().put(i, d == s.dim() ? 0 : q[row * s.dim() + d]);
        }
        AttentionGradients gradients = train ? AttentionGradients.zeros(spec, queries, shards) : null;
        return new Call() {
            @Override
            public void run() {
                kernel.partial(spec, queries, shards, state);
                if (train) {
                    kernel.backward(spec, queries, shards, state, gradient, gradients);
                }
            }

            @Override
            public float[] result() {
                run();
                float[] result = new float[q.length];
                for (int i = 0; i < result.length; i++) {
                    result[i] = state.rows().get(i / s.dim() * state.rowLength() + i % s.dim());
                }
                return result;
            }

            @Override
            public void close() {}
        };
    }

    private static ByteBuffer encode(float[] values, KvType type) {
        ByteBuffer bytes = ByteBuffer.allocateDirect(values.length * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            if (type == KvType.F32) {
                bytes.putFloat(value);
            } else {
                bytes.putShort(type.encode16(value));
            }
        }
        return bytes.rewind();
    }
}
