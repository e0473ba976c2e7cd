package io.github.treeattention.examples.train;

/**
 * What a training run does; all of it decides the result, so all of it must be equal where a run is taken up again.
 *
 * @param length tokens of a sequence
 * @param batch sequences of a step
 * @param seed of the first weights and of the windows
 * @param schedule of the learning rate, and how many steps
 * @param decay of matrices, per step and unit of learning rate
 * @param clip most that the gradient's norm may be; longer ones are shortened
 * @param heldOut fraction of the text, at its end, that is not trained on
 * @param passKeys fraction of sequences with a pass key hidden in them
 * @param stretch up to how far positions are drawn apart, at random for each sequence; 1 for not at all
 * @param sharded whether ranks hold shares of weights and optimizer instead of all of them
 * @param blocks of the dense layers
 */
public record TrainingPlan(
        int length,
        int batch,
        long seed,
        Schedule schedule,
        double decay,
        double clip,
        double heldOut,
        double passKeys,
        double stretch,
        boolean sharded,
        Blocks blocks) {

    public TrainingPlan {
        require(length >= 2, "length must be at least 2", length);
        require(batch >= 1, "batch must be at least 1", batch);
        require(decay >= 0 && decay < 1e6, "decay must be 0 or more", decay);
        require(clip > 0, "clip must be above 0", clip);
        require(heldOut >= 0 && heldOut < 1, "heldOut must be from 0 to below 1", heldOut);
        require(passKeys >= 0 && passKeys <= 1, "passKeys must be 0 to 1", passKeys);
        require(stretch >= 1 && stretch <= 1e6, "stretch must be at least 1", stretch);
    }

    private static void require(boolean holds, String rule, Object got) {
        if (!holds) {
            throw new IllegalArgumentException(rule + ": got " + got);
        }
    }
}
