package io.github.treeattention.examples.train;

import java.nio.FloatBuffer;

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101). Decay is for matrices only. Each element
 * depends on nothing but itself, so a share of the weights is updated as the whole would be.
 *
 * @param decay per step and unit of learning rate
 */
record Adam(double firstDecay, double secondDecay, double epsilon, double decay) {

    static Adam withDecay(double decay) {
        return new Adam(0.9, 0.95, 1e-8, decay);
    }

    /** Where an update works: elements {@code from ...} of a unit, in arrays that begin with that element. */
    record Share(WeightLayout.Unit unit, int from, int count) {}

    /**
     * One step.
     *
     * @param step from 1
     * @param rate of this step
     * @param scale what gradients are multiplied with first
     */
    void update(
            Share share,
            int step,
            double rate,
            double scale,
            FloatBuffer weights,
            FloatBuffer gradients,
            FloatBuffer first,
            FloatBuffer second) {
        double firstBias = 1 - Math.pow(firstDecay, step);
        double secondBias = 1 - Math.pow(secondDecay, step);
        for (int tensor = 0; tensor < share.unit().tensors().size(); tensor++) {
            int start = share.unit().offset(tensor);
            int end = start + (int) share.unit().tensors().get(tensor).count();
            double shrink = share.unit().tensors().get(tensor).vector() ? 0 : rate * decay;
            int to = Math.min(end, share.from() + share.count()) - share.from();
            for (int i = Math.max(start, share.from()) - share.from(); i < to; i++) {
                double gradient = gradients.get(i) * scale;
                float m = (float) (firstDecay * first.get(i) + (1 - firstDecay) * gradient);
                float v = (float) (secondDecay * second.get(i) + (1 - secondDecay) * gradient * gradient);
                first.put(i, m);
                second.put(i, v);
                double weight = weights.get(i);
                double move = m / firstBias / (Math.sqrt(v / secondBias) + epsilon);
                weights.put(i, (float) (weight - shrink * weight - rate * move));
            }
        }
    }
}
