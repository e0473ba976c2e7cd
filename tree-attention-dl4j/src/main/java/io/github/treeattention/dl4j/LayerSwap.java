package io.github.treeattention.dl4j;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.deeplearning4j.nn.conf.NeuralNetConfiguration;
import org.deeplearning4j.nn.conf.graph.AttentionVertex;
import org.deeplearning4j.nn.conf.layers.LearnedSelfAttentionLayer;
import org.deeplearning4j.nn.conf.layers.RecurrentAttentionLayer;
import org.deeplearning4j.nn.conf.layers.SelfAttentionLayer;
import org.nd4j.shade.jackson.core.JsonProcessingException;
import org.nd4j.shade.jackson.databind.JsonNode;
import org.nd4j.shade.jackson.databind.node.ObjectNode;

/**
 * Swaps the classes of attention layers in a network configuration's JSON, wherever they are, in wrappers and vertices
 * too. Works on JSON because DL4J names the class there and our classes read all that the stock ones write.
 */
final class LayerSwap {
    private static final String CLASS = "@class";
    private static final String GRADIENT_SCALE = "stockGradientScale";

    /** Our classes by the stock ones that they stand in for. */
    private static final Map<Class<?>, Class<?>> OURS = Map.of(
            SelfAttentionLayer.class, TreeSelfAttentionLayer.class,
            LearnedSelfAttentionLayer.class, TreeLearnedSelfAttentionLayer.class,
            RecurrentAttentionLayer.class, TreeRecurrentAttentionLayer.class,
            AttentionVertex.class, TreeAttentionVertex.class);

    /** Values of our settings that the stock layers share; a setting with another value has no stock counterpart. */
    private static final Map<String, Double> STOCK_SETTINGS =
            Map.of("slidingWindow", 0.0, "softCap", 0.0, "ropeTheta", 0.0, "scale", 0.0, "attentionDropout", 0.0);

    private final boolean toOurs;
    private final boolean stockGradientScale;
    private final String refusal;
    private final List<ConversionReport.Swapped> swapped = new ArrayList<>();
    private final List<ConversionReport.Left> left = new ArrayList<>();

    /**
     * @param toOurs the direction
     * @param stockGradientScale that of the layers that become ours
     * @param refusal why no layer can become ours; null if they can
     */
    LayerSwap(boolean toOurs, boolean stockGradientScale, String refusal) {
        this.toOurs = toOurs;
        this.stockGradientScale = stockGradientScale;
        this.refusal = refusal;
    }

    /** The configuration with its attention layers swapped. */
    String apply(String json) {
        try {
            JsonNode root = NeuralNetConfiguration.mapper().readTree(json);
            visit(root, "network");
            return NeuralNetConfiguration.mapper().writeValueAsString(root);
        } catch (JsonProcessingException failure) {
            throw new IllegalStateException("the network's configuration is not JSON as DL4J writes it", failure);
        }
    }

    ConversionReport report() {
        return new ConversionReport(swapped, left);
    }

    private void visit(JsonNode node, String name) {
        if (node instanceof ObjectNode object && object.path(CLASS).isTextual()) {
            consider(
                    object,
                    object.path("layerName").asText("").isEmpty()
                                    || object.path("layerName").isNull()
                            ? name
                            : object.path("layerName").asText());
        }
        for (Iterator<Map.Entry<String, JsonNode>> fields = node.fields(); fields.hasNext(); ) {
            Map.Entry<String, JsonNode> field = fields.next();
            if (field.getKey().equals("confs")) {
                for (int i = 0; i < field.getValue().size(); i++) {
                    visit(field.getValue().get(i), "layer " + i);
                }
            } else if (field.getKey().equals("vertices")) {
                field.getValue().fields().forEachRemaining(vertex -> visit(vertex.getValue(), vertex.getKey()));
            } else {
                visit(field.getValue(), name);
            }
        }
        if (node.isArray()) {
            node.forEach(element -> visit(element, name));
        }
    }

    private void consider(ObjectNode object, String name) {
        Class<?> type = classOf(object.path(CLASS).asText());
        Class<?> stock = stockOf(type);
        if (stock == null) {
            return;
        }
        String reason = toOurs ? whyNotOurs(type, stock) : whyNotStock(type, stock, object);
        if (reason != null) {
            left.add(new ConversionReport.Left(name, type, reason));
            return;
        }
        Class<?> target = toOurs ? OURS.get(stock) : stock;
        object.put(CLASS, target.getName());
        if (toOurs) {
            object.put(GRADIENT_SCALE, stockGradientScale);
        } else {
            object.remove(STOCK_SETTINGS.keySet());
            object.remove(List.of("causal", "kvHeads"));
            object.remove(GRADIENT_SCALE);
        }
        swapped.add(new ConversionReport.Swapped(name, type, target));
    }

    private String whyNotOurs(Class<?> type, Class<?> stock) {
        if (type == OURS.get(stock)) {
            return "it is one of ours already";
        }
        return type == stock ? refusal : "it is a subclass, which may do something else";
    }

    private static String whyNotStock(Class<?> type, Class<?> stock, ObjectNode object) {
        if (type == stock) {
            return "it is a stock layer already";
        }
        if (type != OURS.get(stock)) {
            return "it is a subclass, which may do something else";
        }
        if (object.path("causal").asBoolean()) {
            return "the stock layer has no causal mask";
        }
        int kvHeads = object.path("kvHeads").asInt();
        if (kvHeads != 0 && kvHeads != object.path("nheads").asInt(kvHeads)) {
            return "the stock layer has no kvHeads: " + kvHeads;
        }
        for (Map.Entry<String, Double> setting : STOCK_SETTINGS.entrySet()) {
            double value = object.path(setting.getKey()).asDouble();
            if (value != setting.getValue()) {
                return "the stock layer has no " + setting.getKey() + ": " + value;
            }
        }
        return null;
    }

    /** The stock attention class that this one is, replaces or extends; null if none. */
    private static Class<?> stockOf(Class<?> type) {
        for (Class<?> stock : OURS.keySet()) {
            if (stock.isAssignableFrom(type)) {
                return stock;
            }
        }
        return null;
    }

    private static Class<?> classOf(String name) {
        try {
            return Class.forName(name, false, LayerSwap.class.getClassLoader());
        } catch (ClassNotFoundException unknown) {
            return Object.class; // reading the configuration will name it
        }
    }
}
