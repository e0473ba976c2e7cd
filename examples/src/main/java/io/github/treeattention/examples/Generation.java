package io.github.treeattention.examples;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.collective.ReduceOp;
import io.github.treeattention.collective.Traffic;
import io.github.treeattention.examples.text.Sampler;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Generates text: reads a prompt, then samples on rank 0 and sends each token to the others. Rank 0 calls {@link #lead},
 * every other rank {@link #follow}, which learns the prompt from rank 0.
 */
public final class Generation {
    private static final int LEADER = 0;
    private static final int GO_ON = 0;

    private final LlamaDecoder decoder;
    private final Communicator communicator;
    private final ByteBuffer pair = direct(2 * Integer.BYTES);

    /** Why a generation ended. */
    public enum StopReason {
        /** The model ended its text. */
        STOP_TOKEN(1),
        /** As many tokens as wanted. */
        MAX_TOKENS(2),
        /** The ranks' memory for keys and values is full. */
        CONTEXT_FULL(3);

        private final int code;

        StopReason(int code) {
            this.code = code;
        }

        private static StopReason ofCode(int code) {
            for (StopReason reason : values()) {
                if (reason.code == code) {
                    return reason;
                }
            }
            throw new IllegalStateException("rank 0 must send a known code: got " + code);
        }
    }

    /**
     * What to generate.
     *
     * @param prompt ids, begin-of-text first; at least one
     * @param maxTokens the most tokens to generate, at least 1
     * @param stopIds tokens that end the text and are not a part of it
     */
    public record Request(List<Integer> prompt, int maxTokens, Sampler sampler, Set<Integer> stopIds) {
        public Request {
            prompt = List.copyOf(prompt);
            stopIds = Set.copyOf(stopIds);
            if (prompt.isEmpty() || maxTokens < 1) {
                throw new IllegalArgumentException("the prompt's length and maxTokens must be at least 1: got "
                        + prompt.size() + " and " + maxTokens);
            }
        }
    }

    /**
     * What came out; the same tokens on every rank, times and traffic of the rank itself.
     *
     * @param ids generated tokens, without the prompt and without the token that stopped
     * @param promptTokens length of the prompt
     * @param prefillSeconds time to read the prompt and get its last logits
     * @param decodeSeconds time from there to the end
     * @param decodeTraffic what this rank sent in that time
     * @param kvBytes bytes of keys and values on each rank
     */
    public record Result(
            List<Integer> ids,
            StopReason stopReason,
            int promptTokens,
            double prefillSeconds,
            double decodeSeconds,
            Traffic decodeTraffic,
            List<Long> kvBytes) {

        /** Forward passes of single tokens in {@code decodeSeconds}: the last token of a text is not read again. */
        public int decodeSteps() {
            return stopReason == StopReason.STOP_TOKEN ? ids.size() : ids.size() - 1;
        }
    }

    private Generation(LlamaDecoder decoder) {
        this.decoder = decoder;
        this.communicator = decoder.communicator();
    }

    /** The tokens that end a text of this model: its end tokens, and the one that begins the next text. */
    public static Set<Integer> stopIds(LlamaDecoder decoder) {
        Set<Integer> ids = new LinkedHashSet<>(decoder.config().eosIds());
        ids.add(decoder.config().bosId());
        return ids;
    }

    /** Runs on rank 0. */
    public static Result lead(LlamaDecoder decoder, Request request, GenerationListener listener) {
        return new Generation(decoder).lead(request, listener);
    }

    /** Runs on every other rank, at the same time. */
    public static Result follow(LlamaDecoder decoder) {
        return new Generation(decoder).follow();
    }

    private Result lead(Request request, GenerationListener listener) {
        int[] prompt = request.prompt().stream().mapToInt(Integer::intValue).toArray();
        broadcast(prompt.length, request.maxTokens());
        broadcast(prompt);
        long start = System.nanoTime();
        float[] logits = decoder.prefill(prompt, listener::prompt);
        long prefilled = System.nanoTime();
        Traffic before = communicator.traffic();
        List<Integer> ids = new ArrayList<>();
        StopReason reason = null;
        while (reason == null) {
            int id = request.sampler().next(logits);
            if (request.stopIds().contains(id)) {
                reason = StopReason.STOP_TOKEN;
            } else {
                ids.add(id);
                listener.token(id);
                reason = ids.size() == request.maxTokens()
                        ? StopReason.MAX_TOKENS
                        : decoder.position() == decoder.capacity() ? StopReason.CONTEXT_FULL : null;
            }
            broadcast(id, reason == null ? GO_ON : reason.code);
            if (reason == null) {
                logits = decoder.decode(id);
            }
        }
        return result(ids, reason, prompt.length, start, prefilled, before);
    }

    private Result follow() {
        broadcast(0, 0);
        int promptTokens = pair.getInt(0);
        if (promptTokens < 1) {
            throw new IllegalStateException("rank 0 must send a prompt: got a length of " + promptTokens);
        }
        int[] prompt = broadcast(new int[promptTokens]);
        long start = System.nanoTime();
        decoder.feed(prompt, ProgressListener.NONE);
        long prefilled = System.nanoTime();
        Traffic before = communicator.traffic();
        List<Integer> ids = new ArrayList<>();
        StopReason reason = null;
        while (reason == null) {
            broadcast(0, 0);
            int id = pair.getInt(0);
            int code = pair.getInt(Integer.BYTES);
            reason = code == GO_ON ? null : StopReason.ofCode(code);
            if (reason != StopReason.STOP_TOKEN) {
                ids.add(id);
            }
            if (reason == null) {
                decoder.feed(new int[] {id}, ProgressListener.NONE);
            }
        }
        return result(ids, reason, promptTokens, start, prefilled, before);
    }

    private Result result(
            List<Integer> ids, StopReason reason, int promptTokens, long start, long prefilled, Traffic before) {
        double decodeSeconds = (System.nanoTime() - prefilled) / 1e9;
        Traffic traffic = communicator.traffic().since(before);
        return new Result(
                List.copyOf(ids),
                reason,
                promptTokens,
                (prefilled - start) / 1e9,
                decodeSeconds,
                traffic,
                gather(decoder.kvBytes()));
    }

    private void broadcast(int first, int second) {
        pair.putInt(0, first).putInt(Integer.BYTES, second);
        communicator.broadcast(pair, LEADER);
    }

    private int[] broadcast(int[] values) {
        ByteBuffer message = direct(Math.multiplyExact(values.length, Integer.BYTES));
        message.asIntBuffer().put(values);
        communicator.broadcast(message, LEADER);
        message.asIntBuffer().get(values);
        return values;
    }

    /** Every rank's value, on every rank. */
    private List<Long> gather(long own) {
        ByteBuffer message = direct(communicator.worldSize() * Long.BYTES);
        message.putLong(communicator.rank() * Long.BYTES, own);
        communicator.allReduce(message, new SumOfLongs());
        long[] values = new long[communicator.worldSize()];
        message.asLongBuffer().get(values);
        return Arrays.stream(values).boxed().toList();
    }

    private static ByteBuffer direct(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private record SumOfLongs() implements ReduceOp {
        @Override
        public int blockLength() {
            return Long.BYTES;
        }

        @Override
        public void reduce(ByteBuffer accumulator, ByteBuffer incoming) {
            int in = incoming.position();
            for (int at = accumulator.position(); at < accumulator.limit(); at += Long.BYTES, in += Long.BYTES) {
                accumulator.putLong(at, accumulator.getLong(at) + incoming.getLong(in));
            }
        }
    }
}
