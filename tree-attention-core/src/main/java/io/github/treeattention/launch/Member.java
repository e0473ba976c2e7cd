package io.github.treeattention.launch;

/** One rank that has joined, and the connection to it. Its number may change from one epoch to the next. */
final class Member {
    private final Hello hello;
    private final ControlChannel channel;
    private final long joinedNanos = System.nanoTime();
    private volatile int rank;

    Member(Hello hello, ControlChannel channel) {
        this.hello = hello;
        this.channel = channel;
        rank = hello.rank();
    }

    Hello hello() {
        return hello;
    }

    ControlChannel channel() {
        return channel;
    }

    /** For how long it has been here. */
    long ageNanos() {
        return System.nanoTime() - joinedNanos;
    }

    int rank() {
        return rank;
    }

    void renumber(int newRank) {
        rank = newRank;
    }
}
