package io.github.treeattention.examples;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.TreeAttention;
import io.github.treeattention.examples.model.LlamaModel;
import io.github.treeattention.examples.model.ModelLoader;
import io.github.treeattention.examples.text.Tokenizer;
import io.github.treeattention.examples.text.Tokenizers;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * What a model believes while it reads: each attention head is a posterior over the positions before it. For the last
 * token of a text, spread over the processes of a run, it prints per layer and head the log evidence (the query's mean
 * likelihood over all keys), the entropy, as the number of keys that would be as uncertain, and the likeliest keys. Start it with
 * {@code treeattn launch -n 4 -- io.github.treeattention.examples.BayesianReading models/kjv-llama}, and a text of your own
 * behind that.
 */
public final class BayesianReading {
    private static final int MOST = 3;
    private static final String TEXT =
            """
            In the beginning God created the heaven and the earth.
            And the earth was without form, and void; and darkness was upon the face of the deep.
            The pass key is 52718. Remember it. 52718 is the pass key.
            And the Spirit of God moved upon the face of the waters.
            And God said, Let there be light: and there was light.
            What is the pass key? The pass key is 527""";

    private BayesianReading() {}

    public static void main(String[] args) {
        if (args.length < 1 || args.length > 2) {
            System.err.println("wanted: the model's folder, and perhaps a text; got " + args.length + " arguments");
            System.exit(2);
        }
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(30))) {
            List<String> lines = read(Path.of(args[0]), args.length > 1 ? args[1] : TEXT, session.communicator());
            if (session.communicator().rank() == 0) {
                lines.forEach(System.out::println);
            }
        }
    }

    /** A line for each layer and head; the same on every rank. */
    static List<String> read(Path folder, String text, Communicator ranks) {
        LlamaModel model = ModelLoader.load(folder);
        Tokenizer tokenizer = Tokenizers.load(folder, model.config());
        int[] tokens = tokenizer.encode(text);
        ReadingAttention attention =
                new ReadingAttention(new TreeAttention(AttentionKernels.choose(), ranks), ranks, MOST);
        try (LlamaDecoder decoder = new LlamaDecoder(model, ranks, attention, DecoderOptions.defaults())) {
            decoder.feed(Arrays.copyOf(tokens, tokens.length - 1), ProgressListener.NONE);
            List<ReadingAttention.Reading> layers = attention.record();
            decoder.feed(new int[] {tokens[tokens.length - 1]}, ProgressListener.NONE);
            return describe(layers, tokens, tokenizer);
        }
    }

    private static List<String> describe(List<ReadingAttention.Reading> layers, int[] tokens, Tokenizer tokenizer) {
        List<String> lines = new ArrayList<>();
        for (int layer = 0; layer < layers.size(); layer++) {
            ReadingAttention.Reading reading = layers.get(layer);
            for (int head = 0; head < reading.state().heads(); head++) {
                int h = head;
                double lse = reading.state().value(head, 0);
                String keys = IntStream.range(0, reading.top().count(head, 0))
                        .mapToObj(place -> String.format(
                                Locale.ROOT,
                                "%4.1f %% \"%s\" @%d",
                                100 * Math.exp(reading.top().score(h, 0, place) - lse),
                                text(tokenizer, tokens[(int) reading.top().position(h, 0, place)]),
                                reading.top().position(h, 0, place)))
                        .collect(Collectors.joining("   "));
                lines.add(String.format(
                        Locale.ROOT,
                        "layer %d head %d  log evidence %7.3f  keys in effect %6.1f of %d   %s",
                        layer,
                        head,
                        lse - Math.log(tokens.length),
                        Math.exp(reading.state().entropy(head, 0)),
                        tokens.length,
                        keys));
            }
        }
        return lines;
    }

    private static String text(Tokenizer tokenizer, int token) {
        return new String(tokenizer.tokenBytes(token), StandardCharsets.UTF_8).replace("\n", "\\n");
    }
}
