package io.github.treeattention.examples;

import io.github.treeattention.attention.AttentionSpec;
import io.github.treeattention.attention.Queries;
import io.github.treeattention.cache.KvCache;
import io.github.treeattention.cache.KvLayout;
import io.github.treeattention.cache.SequencePartition;
import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.ChunkAttention;
import io.github.treeattention.distributed.DistributedAttention;
import io.github.treeattention.distributed.TreeAttention;
import io.github.treeattention.examples.model.LlamaConfig;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.Matrix;
import io.github.treeattention.examples.tensor.RmsNorm;
import io.github.treeattention.examples.tensor.Rows;
import io.github.treeattention.examples.tensor.SwiGlu;
import io.github.treeattention.kernel.AttentionKernel;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * A LLaMA-style decoder over one growing sequence whose keys and values are spread over the ranks of a group. Every rank
 * calls the same methods with the same tokens. A chunk of a prompt is cut over the ranks; single tokens go through the dense
 * layers on every rank. Attention runs over the keys that each rank holds and is made exact by the
 * {@link DistributedAttention} in use, or for chunks by {@link ChunkAttention}.
 *
 * <p>Not thread-safe. Does not close the communicator.
 */
public final class LlamaDecoder implements AutoCloseable {
    private final LlamaConfig config;
    private final LlamaModel model;
    private final Communicator communicator;
    private final DecoderOptions options;
    private final DistributedAttention attention;
    private final SharedChunk shared; // null where every rank computes every token
    private final AttentionSpec spec;
    private final KvCache cache;
    private final long capacity;
    private final List<DenseWeights> dense = new ArrayList<>();
    private final Rows head;
    private final Workspace chunkSpace;
    private final Workspace tokenSpace;
    private long position;

    /** A layer's matrices as ND4J sees them. */
    private record DenseWeights(Rows qkv, Rows attentionOut, Rows gateUp, Rows down) {}

    /**
     * A decoder with tree attention: for each token, keys stay where they are and one all-reduce per layer merges the ranks'
     * states; a prompt is read as {@link DecoderOptions#prefill} says.
     *
     * @param model may be shared with other decoders of this process
     * @param options equal on all ranks
     */
    public LlamaDecoder(LlamaModel model, Communicator communicator, AttentionKernel kernel, DecoderOptions options) {
        this(
                model,
                communicator,
                new TreeAttention(kernel, communicator),
                options,
                sharing(communicator, kernel, options.prefill()));
    }

    /**
     * A decoder with the attention given, for prompts too: every rank computes every token.
     *
     * @param model may be shared with other decoders of this process
     * @param communicator this rank's, the same that {@code attention} uses
     * @param options equal on all ranks; their {@link DecoderOptions#prefill} does not count
     */
    public LlamaDecoder(
            LlamaModel model, Communicator communicator, DistributedAttention attention, DecoderOptions options) {
        this(model, communicator, attention, options, null);
    }

    private LlamaDecoder(
            LlamaModel model,
            Communicator communicator,
            DistributedAttention attention,
            DecoderOptions options,
            SharedChunk shared) {
        this.model = model;
        this.config = model.config();
        this.communicator = communicator;
        this.options = options;
        this.attention = attention;
        this.shared = shared;
        this.spec = AttentionSpec.of(config.heads(), config.kvHeads(), config.headDim())
                .withCausal(true);
        KvLayout layout = new KvLayout(
                config.layers(),
                config.kvHeads(),
                config.headDim(),
                config.headDim(),
                options.kvType(),
                options.pageSize());
        SequencePartition partition = new SequencePartition(options.pageSize(), communicator.worldSize());
        this.cache = new KvCache(layout, partition, communicator.rank(), options.maxKvBytes());
        this.capacity = capacity(layout, communicator.worldSize(), options.maxKvBytes());
        for (int layer = 0; layer < config.layers(); layer++) {
            LlamaModel.Layer weights = model.layer(layer);
            dense.add(new DenseWeights(
                    wrap(weights.qkv()), wrap(weights.attentionOut()), wrap(weights.gateUp()), wrap(weights.down())));
        }
        this.head = wrap(model.head());
        this.chunkSpace = Workspace.allocate(config, options.chunk());
        this.tokenSpace = chunkSpace.first(1);
    }

    private static SharedChunk sharing(
            Communicator communicator, AttentionKernel kernel, DecoderOptions.Prefill prefill) {
        if (communicator.worldSize() == 1 || prefill == DecoderOptions.Prefill.WHOLE) {
            return null;
        }
        ChunkAttention.Moves moves =
                switch (prefill) {
                    case QUERIES -> ChunkAttention.Moves.QUERIES;
                    case KEYS -> ChunkAttention.Moves.KEYS;
                    default -> null;
                };
        return new SharedChunk(communicator, new ChunkAttention(kernel, communicator, moves));
    }

    /**
     * Reads tokens of a prompt, a chunk at a time.
     *
     * @return the logits after the last token
     * @throws ContextFullException on every rank, before anything is stored, if the tokens do not fit
     */
    public float[] prefill(int[] tokens, ProgressListener listener) {
        feed(tokens, listener);
        return lastLogits((tokens.length - 1) % options.chunk());
    }

    /** Reads tokens of a text and hands over the logits after each of them, as perplexity needs them. */
    public void prefillEach(int[] tokens, LogitsListener listener) {
        checkTokens(tokens);
        Rows logits = Rows.allocate(options.chunk(), config.vocabSize());
        float[] row = new float[config.vocabSize()];
        for (int from = 0; from < tokens.length; from += options.chunk()) {
            int count = Math.min(options.chunk(), tokens.length - from);
            long first = position;
            Workspace space = forward(tokens, from, count);
            rmsNorm(space.residual, model.finalNorm(), space.normed);
            logits.first(count).product(space.normed, head);
            for (int i = 0; i < count; i++) {
                logits.values().get(i * config.vocabSize(), row);
                listener.logits(first + i, row);
            }
        }
    }

    /** Reads tokens without computing logits: what ranks do that do not sample. */
    public void feed(int[] tokens, ProgressListener listener) {
        checkTokens(tokens);
        for (int from = 0; from < tokens.length; from += options.chunk()) {
            int count = Math.min(options.chunk(), tokens.length - from);
            forward(tokens, from, count);
            listener.progress(from + count, tokens.length);
        }
    }

    /** Reads one token and returns the logits after it. */
    public float[] decode(int token) {
        feed(new int[] {token}, ProgressListener.NONE);
        return lastLogits(0);
    }

    /** Tokens read so far. */
    public long position() {
        return position;
    }

    /** The most tokens that fit the ranks' memory limits together. */
    public long capacity() {
        return capacity;
    }

    /** Bytes that this rank's keys and values take. */
    public long kvBytes() {
        return cache.allocatedBytes();
    }

    public LlamaConfig config() {
        return config;
    }

    Communicator communicator() {
        return communicator;
    }

    /** Forgets the sequence, to begin another one. */
    public void reset() {
        cache.clear();
        position = 0;
    }

    @Override
    public void close() {
        cache.close();
    }

    /**
     * The transformer over the next {@code count} tokens; their residual stream is left in the workspace that is returned.
     * Each stage works on rows, one per token: all of them, or this rank's run.
     */
    private Workspace forward(int[] tokens, int from, int count) {
        boolean cut = shared != null && count > 1;
        Workspace space = space(cut ? shared.rows(count) : count);
        int first = cut ? shared.first(count) : 0;
        space.rotary.moveTo(position + first, space.residual.count());
        embed(tokens, from + first, from + count, space.residual);
        for (int layer = 0; layer < config.layers(); layer++) {
            LlamaModel.Layer weights = model.layer(layer);
            DenseWeights products = dense.get(layer);

            // Queries, keys and values of the new tokens, rotated to their global positions.
            rmsNorm(space.residual, weights.attentionNorm(), space.normed);
            space.qkv.product(space.normed, products.qkv());
            splitHeads(space);

            // Each rank keeps its share of the keys and values, then attends over all keys so far, new ones included.
            if (cut) {
                shared.append(cache, layer, count, space);
                shared.attend(spec, cache, layer, position, space);
            } else {
                cache.append(layer, count, space.keys, space.values);
                attend(layer, space);
            }
            joinHeads(space);
            space.projected.product(space.attended, products.attentionOut());
            space.residual.add(space.projected);

            // The feed-forward layer: down(silu(gate x) * up x).
            rmsNorm(space.residual, weights.feedForwardNorm(), space.normed);
            space.gateUp.product(space.normed, products.gateUp());
            SwiGlu.forward(space.gateUp, space.hidden);
            space.projected.product(space.hidden, products.down());
            space.residual.add(space.projected);
        }
        position += count;
        if (cut) {
            shared.gather(space.residual, count, chunkSpace.residual);
            return space(count);
        }
        return space;
    }

    private Workspace space(int count) {
        return count == options.chunk() ? chunkSpace : count == 1 ? tokenSpace : chunkSpace.first(count);
    }

    /** Tokens {@code from ...} as far as there are rows, and none from {@code end} on. */
    private void embed(int[] tokens, int from, int end, Rows residual) {
        int dim = config.dim();
        FloatBuffer table = model.embeddings().values();
        for (int row = 0; row < Math.min(residual.count(), end - from); row++) {
            residual.values().put(row * dim, table, tokens[from + row] * dim, dim);
        }
    }

    private void rmsNorm(Rows input, Matrix scale, Rows output) {
        RmsNorm.forward(input, scale.values(), config.rmsNormEps(), output);
    }

    /** From rows of q, k and v to rotated queries {@code [heads][count][headDim]}, and keys and values as the cache takes them. */
    private void splitHeads(Workspace space) {
        int headDim = config.headDim();
        int queryDim = config.queryDim();
        int kvDim = config.kvDim();
        int count = space.qkv.count();
        FloatBuffer qkv = space.qkv.values();
        for (int row = 0; row < count; row++) {
            int at = row * space.qkv.width();
            for (int turned = 0; turned < queryDim + kvDim; turned += headDim) {
                space.rotary.rotate(qkv, at + turned, row);
            }
            for (int h = 0; h < config.heads(); h++) {
                space.queries.put((h * count + row) * headDim, qkv, at + h * headDim, headDim);
            }
            space.keys.put(row * kvDim, qkv, at + queryDim, kvDim);
            space.values.put(row * kvDim, qkv, at + queryDim + kvDim, kvDim);
        }
    }

    /** Exact attention over the keys of all ranks, of queries that every rank has. */
    private void attend(int layer, Workspace space) {
        int count = space.attended.count();
        Queries queries = new Queries(space.queries, 1, config.heads(), count, config.headDim(), position);
        attention.attend(spec, queries, List.of(cache.shard(layer)), space.state);
    }

    /** The state's outputs, heads side by side in each row. */
    private void joinHeads(Workspace space) {
        int headDim = config.headDim();
        int count = space.attended.count();
        FloatBuffer out = space.attended.values();
        for (int h = 0; h < config.heads(); h++) {
            for (int row = 0; row < count; row++) {
                int to = row * space.attended.width() + h * headDim;
                out.put(to, space.state.rows(), space.state.rowIndex(0, h, row), headDim);
            }
        }
    }

    /** The head for one row of the last chunk. */
    private float[] lastLogits(int row) {
        int dim = config.dim();
        FloatBuffer residual = chunkSpace.residual.values();
        if (row > 0) {
            residual.put(0, residual, row * dim, dim);
        }
        rmsNorm(tokenSpace.residual, model.finalNorm(), tokenSpace.normed);
        tokenSpace.logits.product(tokenSpace.normed, head);
        float[] logits = new float[config.vocabSize()];
        tokenSpace.logits.values().get(0, logits);
        return logits;
    }

    private void checkTokens(int[] tokens) {
        if (tokens.length == 0) {
            throw new IllegalArgumentException("there must be at least one token to read");
        }
        for (int token : tokens) {
            if (token < 0 || token >= config.vocabSize()) {
                throw new IllegalArgumentException("tokens must be 0.." + (config.vocabSize() - 1) + ": got " + token);
            }
        }
        // Checked for the group as a whole: a cache that fills on one rank alone would leave the others waiting for it.
        if (tokens.length > capacity - position) {
            throw new ContextFullException(position, tokens.length, capacity);
        }
    }

    /** Pages go round the ranks, so the group is full when every rank has its last page. */
    private static long capacity(KvLayout layout, int worldSize, long maxBytes) {
        long pages = Math.min(maxBytes / layout.pageBytes(), Integer.MAX_VALUE);
        return pages * layout.pageSize() * worldSize;
    }

    private static Rows wrap(Matrix matrix) {
        return Rows.wrap(matrix.bytes(), matrix.rows(), matrix.columns());
    }
}
