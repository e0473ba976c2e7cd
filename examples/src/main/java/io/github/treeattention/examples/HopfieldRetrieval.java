package io.github.treeattention.examples;

import io.github.treeattention.collective.Communicator;
import io.github.treeattention.distributed.HopfieldMemory;
import io.github.treeattention.kernel.AttentionKernels;
import io.github.treeattention.launch.RankEnvironment;
import io.github.treeattention.launch.RankSession;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import javax.imageio.ImageIO;

/**
 * Recalls pictures that the processes of a run hold between them, from noise: eight letters of 8 x 8 points, each rank with
 * its share, are disturbed by noise as large as themselves and retrieved by attention. Rank 0 draws the letters, what is left of them, and
 * the state after one, two and three updates. Start it with
 * {@code treeattn launch -n 4 -- io.github.treeattention.examples.HopfieldRetrieval hopfield.png}.
 */
public final class HopfieldRetrieval {
    private static final int SIDE = 8;
    private static final int DIM = SIDE * SIDE;
    private static final int UPDATES = 3;
    private static final double BETA = 0.25;
    private static final int POINT = 6; // pixels of a point
    private static final int CELL = (SIDE + 1) * POINT;

    /** Rows of all letters side by side. */
    private static final String[] LETTERS = {
        "..####.. ######.. ..#####. #####... ######## ##....## ##....## ########",
        ".##..##. ##...##. .##...## ##..##.. ##...... ##....## .##..##. ########",
        "##....## ##...##. ##...... ##...##. ##...... ##....## ..####.. ...##...",
        "##....## ######.. ##...... ##....## #####... ######## ...##... ...##...",
        "######## ##...##. ##...... ##....## ##...... ######## ...##... ...##...",
        "##....## ##....## ##...... ##...##. ##...... ##....## ..####.. ...##...",
        "##....## ##...##. .##...## ##..##.. ##...... ##....## .##..##. ...##...",
        "##....## ######.. ..#####. #####... ######## ##....## ##....## ...##..."
    };

    private HopfieldRetrieval() {}

    /**
     * What came of it.
     *
     * @param stages the stored pictures, the noisy ones, and the states after each update, {@code [letters][64]} each
     * @param energies mean energy of the noisy pictures and after each update but the last
     * @param recovered letters that came back
     */
    record Result(
            @SuppressWarnings("ArrayRecordComponent") double[][] stages,
            @SuppressWarnings("ArrayRecordComponent") double[] energies,
            int recovered) {}

    public static void main(String[] args) throws IOException {
        if (args.length != 1) {
            System.err.println("wanted: the picture's file, .png; got " + args.length + " arguments");
            System.exit(2);
        }
        try (RankSession session = RankSession.join(RankEnvironment.current(), Map.of(), Duration.ofSeconds(30))) {
            Result result = retrieve(session.communicator());
            if (session.communicator().rank() == 0) {
                draw(result, new File(args[0]));
                System.out.printf(
                        Locale.ROOT,
                        "%d of %d letters recovered; mean energy %s; picture: %s%n",
                        result.recovered,
                        letters().length / DIM,
                        Arrays.toString(result.energies),
                        args[0]);
            }
        }
    }

    /** The same on every rank. */
    static Result retrieve(Communicator ranks) {
        double[] stored = letters();
        int count = stored.length / DIM;
        int from = count * ranks.rank() / ranks.worldSize();
        int to = count * (ranks.rank() + 1) / ranks.worldSize();
        HopfieldMemory memory = HopfieldMemory.onKernel(
                AttentionKernels.choose(), ranks, Arrays.copyOfRange(stored, from * DIM, to * DIM), DIM, BETA);
        double[][] stages = new double[2 + UPDATES][];
        double[] energies = new double[UPDATES];
        stages[0] = stored;
        stages[1] = noisy(stored);
        for (int i = 0; i < UPDATES; i++) {
            HopfieldMemory.Update update = memory.update(stages[1 + i]);
            energies[i] = Arrays.stream(update.energies()).average().orElseThrow();
            stages[2 + i] = update.states();
        }
        return new Result(stages, energies, recovered(stored, stages[1 + UPDATES]));
    }

    private static double[] letters() {
        String[][] rows = new String[SIDE][];
        Arrays.setAll(rows, y -> LETTERS[y].split(" ", -1));
        double[] letters = new double[rows[0].length * DIM];
        for (int letter = 0; letter < rows[0].length; letter++) {
            for (int y = 0; y < SIDE; y++) {
                for (int x = 0; x < SIDE; x++) {
                    letters[letter * DIM + y * SIDE + x] = rows[y][letter].charAt(x) == '#' ? 1 : -1;
                }
            }
        }
        return letters;
    }

    private static double[] noisy(double[] stored) {
        SplittableRandom random = new SplittableRandom(3);
        return Arrays.stream(stored).map(value -> value + random.nextGaussian()).toArray();
    }

    private static int recovered(double[] stored, double[] states) {
        int recovered = 0;
        for (int at = 0; at < stored.length; at += DIM) {
            boolean all = true;
            for (int i = at; i < at + DIM; i++) {
                all &= Math.abs(stored[i] - states[i]) < 0.1;
            }
            recovered += all ? 1 : 0;
        }
        return recovered;
    }

    /** A row of pictures for each stage: white is 1 and more, black -1 and less. */
    static void draw(Result result, File file) throws IOException {
        int count = result.stages[0].length / DIM;
        BufferedImage image = new BufferedImage(
                count * CELL + POINT, result.stages.length * CELL + POINT, BufferedImage.TYPE_BYTE_GRAY);
        for (int stage = 0; stage < result.stages.length; stage++) {
            for (int i = 0; i < count * DIM; i++) {
                double value = Math.max(-1, Math.min(1, result.stages[stage][i]));
                int left = POINT + i / DIM * CELL + i % SIDE * POINT;
                int top = POINT + stage * CELL + i % DIM / SIDE * POINT;
                for (int p = 0; p < POINT * POINT; p++) {
                    int gray = (int) Math.round(48 + 103.5 * (value + 1)); // the background is black
                    image.getRaster().setSample(left + p % POINT, top + p / POINT, 0, gray);
                }
            }
        }
        ImageIO.setUseCache(false);
        if (!ImageIO.write(image, "png", file)) {
            throw new IOException("this Java cannot write PNG");
        }
    }
}
