/** Somebody else's attention kernel. */
interface Peer {
    String name();

    /** Whether it has a kernel for this, in the type of keys and values too. */
    boolean knows(Shapes shapes);

    /** Everything but the call itself. q: [heads][queries][dim]; k and v: [kvHeads][length][dim]. */
    Call prepare(Shapes shapes, float[] q, float[] k, float[] v) throws Exception;

    /** What is timed. */
    interface Call extends AutoCloseable {
        void run() throws Exception;

        /** The output, [heads][queries][dim]. */
        float[] result() throws Exception;
    }
}
