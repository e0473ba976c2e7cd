package io.github.treeattention.dl4j;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.deeplearning4j.nn.conf.ComputationGraphConfiguration.GraphBuilder;
import org.deeplearning4j.nn.conf.WorkspaceMode;
import org.deeplearning4j.nn.conf.inputs.InputType;
import org.deeplearning4j.nn.conf.layers.Layer;
import org.deeplearning4j.nn.graph.ComputationGraph;
import org.nd4j.linalg.learning.config.IUpdater;

/** The drop-ins, each with every option that it has. */
enum LayerOptions {
    SELF,
    LEARNED,
    RECURRENT,
    VERTEX;

    static final int TIME = 4;

    /** An option and what it is set to. */
    record Case(LayerOptions of, String name, AttentionSettings settings) {
        @Override
        public String toString() {
            return of + " " + name;
        }
    }

    /** Each option alone, and all together. */
    static Stream<Case> cases() {
        List<Case> cases = new ArrayList<>();
        for (LayerOptions each : values()) {
            AttentionSettings all = AttentionSettings.NONE;
            for (Map.Entry<String, UnaryOperator<AttentionSettings>> option :
                    each.options().entrySet()) {
                cases.add(new Case(each, option.getKey(), option.getValue().apply(AttentionSettings.NONE)));
                all = option.getValue().apply(all);
            }
            cases.add(new Case(each, "all", all));
        }
        return cases.stream();
    }

    private Map<String, UnaryOperator<AttentionSettings>> options() {
        Map<String, UnaryOperator<AttentionSettings>> options = new LinkedHashMap<>();
        options.put("none", settings -> settings);
        options.put("kvHeads", settings -> settings.withKvHeads(1));
        options.put("softCap", settings -> settings.withSoftCap(0.8));
        options.put("scale", settings -> settings.withScale(0.9));
        options.put("attentionDropout", settings -> settings.withAttentionDropout(0.4));
        if (this != LEARNED) {
            options.put("causal", settings -> settings.withCausal(true));
            options.put("slidingWindow", settings -> settings.withCausal(true).withSlidingWindow(2));
            options.put("rope", settings -> settings.withRopeTheta(100));
        }
        return options;
    }

    /** Not for the vertex, which is no layer. */
    private Layer layer(AttentionSettings settings) {
        return switch (this) {
            case SELF ->
                new TreeSelfAttentionLayer.Builder()
                        .nOut(4)
                        .nHeads(2)
                        .headSize(2)
                        .projectInput(true)
                        .attention(settings)
                        .build();
            case LEARNED ->
                new TreeLearnedSelfAttentionLayer.Builder()
                        .nOut(4)
                        .nHeads(2)
                        .headSize(2)
                        .nQueries(TIME)
                        .projectInput(true)
                        .attention(settings)
                        .build();
            case RECURRENT ->
                new TreeRecurrentAttentionLayer.Builder()
                        .nOut(4)
                        .nHeads(2)
                        .headSize(2)
                        .projectInput(true)
                        .attention(settings)
                        .build();
            case VERTEX -> throw new IllegalStateException("no layer");
        };
    }

    /** A network with it, above another attention layer, so that the gradient below it counts too. */
    ComputationGraph network(AttentionSettings settings, IUpdater updater) {
        GraphBuilder graph = Nets.base(updater, WorkspaceMode.NONE)
                .graphBuilder()
                .addInputs("in")
                .setInputTypes(InputType.recurrent(Nets.IN))
                .addLayer("below", SELF.layer(AttentionSettings.NONE), "in");
        if (this == VERTEX) {
            TreeAttentionVertex vertex = new TreeAttentionVertex.Builder()
                    .nInQueries(4)
                    .nInKeys(4)
                    .nInValues(Nets.IN)
                    .nHeads(2)
                    .headSize(2)
                    .nOut(4)
                    .projectInput(true)
                    .attention(settings)
                    .build();
            graph.addVertex("attention", vertex, "below", "below", "in");
        } else {
            graph.addLayer("attention", layer(settings), "below");
        }
        graph.addLayer("out", Nets.output(), "attention").setOutputs("out");
        ComputationGraph network = new ComputationGraph(graph.build());
        network.init();
        return network;
    }
}
