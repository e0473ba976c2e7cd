import io.github.treeattention.nativeops.NativeOps;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;

/** Times ours and others' kernels in turn, on the same numbers, in one process; first compares what they compute. */
final class Peers {
    private Peers() {}

    public static void main(String[] arguments) throws Exception {
        int threads = NativeOps.threads();
        List<Peer> peers = List.of(new TreePeer(), new TorchPeer(threads), new OnnxPeer(threads));
        System.out.printf("%d threads each; median ms of calls in turn (minimum), and how many times ours%n", threads);
        for (Shapes shapes : arguments.length == 0 ? usual() : List.of(parse(arguments[0]))) {
            time(peers, shapes, shapes.mode() == Shapes.Mode.DECODE || shapes.length() < 2000 ? 15 : 5);
        }
        System.exit(0); // DJL leaves threads
    }

    private static List<Shapes> usual() {
        List<Shapes> all = new ArrayList<>();
        for (int bytes : new int[] {4, 2}) {
            all.add(new Shapes(Shapes.Mode.DECODE, 32, 8, 128, 65_536, bytes, false));
        }
        for (int dim : new int[] {64, 128}) {
            for (int length : new int[] {1024, 4096}) {
                all.add(new Shapes(Shapes.Mode.PREFILL, 8, 8, dim, length, 4, false));
                all.add(new Shapes(Shapes.Mode.TRAIN, 8, 8, dim, length, 4, false));
            }
        }
        all.add(new Shapes(Shapes.Mode.PREFILL, 8, 8, 128, 1024, 2, false));
        all.add(new Shapes(Shapes.Mode.TRAIN, 8, 8, 64, 1024, 2, false));
        return all;
    }

    /** As {@code decode,32,8,128,65536,bf16}. */
    private static Shapes parse(String text) {
        String[] part = text.split(",");
        return new Shapes(
                Shapes.Mode.valueOf(part[0].toUpperCase(Locale.ROOT)), Integer.parseInt(part[1]), Integer.parseInt(part[2]),
                Integer.parseInt(part[3]), Integer.parseInt(part[4]), part[5].equals("f32") ? 4 : 2, part[5].equals("f16"));
    }

    private static void time(List<Peer> peers, Shapes s, int runs) throws Exception {
        System.out.printf("%s %d/%d heads x %d, %d keys, %s%n", s.mode().name().toLowerCase(Locale.ROOT), s.heads(), s.kvHeads(),
                s.dim(), s.length(), s.bytes() == 4 ? "f32" : s.half() ? "f16" : "bf16");
        SplittableRandom random = new SplittableRandom(1);
        float[] q = numbers(random, s.heads() * s.queries() * s.dim());
        float[] k = numbers(random, s.kvHeads() * s.length() * s.dim());
        float[] v = numbers(random, s.kvHeads() * s.length() * s.dim());
        Map<Peer, Peer.Call> calls = new LinkedHashMap<>();
        Map<Peer, double[]> times = new LinkedHashMap<>();
        float[] ours = null;
        for (Peer peer : peers) {
            if (peer.knows(s)) {
                Peer.Call call = peer.prepare(s, q, k, v);
                float[] result = call.result();
                ours = ours == null ? result : ours;
                double difference = 0;
                for (int i = 0; i < result.length; i++) {
                    difference = Math.max(difference, Math.abs(result[i] - ours[i]));
                }
                // PyTorch rounds queries, weights and outputs to 16 bits too.
                if (!(difference <= (s.bytes() == 4 ? 1e-5 : 1e-2))) {
                    throw new IllegalStateException(peer.name() + " computes something else: off by " + difference);
                }
                calls.put(peer, call);
                times.put(peer, new double[runs]);
            }
        }
        for (int run = -1; run < runs; run++) {
            for (Map.Entry<Peer, Peer.Call> entry : calls.entrySet()) {
                Thread.sleep(50); // some peers' threads spin on after a call, on the cores of the next one's
                long start = System.nanoTime();
                entry.getValue().run();
                if (run >= 0) {
                    times.get(entry.getKey())[run] = (System.nanoTime() - start) / 1e6;
                }
            }
        }
        double reference = 0;
        for (Map.Entry<Peer, double[]> entry : times.entrySet()) {
            double[] sorted = entry.getValue();
            Arrays.sort(sorted);
            double median = sorted[runs / 2];
            reference = reference == 0 ? median : reference;
            System.out.printf(Locale.ROOT, "  %-28s %9.2f (%.2f)  %.2f x%n", entry.getKey().name(), median, sorted[0], median / reference);
            calls.get(entry.getKey()).close();
        }
    }

    private static float[] numbers(SplittableRandom random, int count) {
        float[] numbers = new float[count];
        for (int i = 0; i < count; i++) {
            numbers[i] = (float) (2 * random.nextDouble() - 1);
        }
        return numbers;
    }
}
