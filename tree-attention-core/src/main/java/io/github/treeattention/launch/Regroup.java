package io.github.treeattention.launch;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/** Who wants to be in the epoch after a failure: survivors that have asked, and new processes that wait. Not thread-safe. */
final class Regroup {
    private final SortedMap<Integer, Member> survivors = new TreeMap<>();
    private final SortedMap<Integer, Member> newcomers = new TreeMap<>();
    private Reform how;
    private Duration patience;
    private long startNanos;

    /** Takes a request in. Returns why it cannot be, or null. */
    String ask(Member member, ReformRequest request) {
        if (how != null && how != request.how()) {
            return "all survivors must ask for the same: rank " + survivors.firstKey() + " wants " + how + ", rank "
                    + member.rank() + " wants " + request.how();
        }
        if (how == null) {
            how = request.how();
            patience = request.patience();
            startNanos = System.nanoTime();
        }
        patience = patience.compareTo(request.patience()) < 0 ? patience : request.patience();
        survivors.put(member.rank(), member);
        return null;
    }

    boolean hasNewcomer(int rank) {
        return newcomers.containsKey(rank);
    }

    void welcome(Member newcomer) {
        newcomers.put(newcomer.rank(), newcomer);
    }

    /** Forgets one that is gone. */
    void remove(Member member) {
        survivors.remove(member.rank(), member);
        newcomers.remove(member.rank(), member);
        if (survivors.isEmpty()) {
            how = null;
        }
    }

    boolean contains(Member member) {
        return hasAsked(member) || newcomers.get(member.rank()) == member;
    }

    boolean hasAsked(Member member) {
        return survivors.get(member.rank()) == member;
    }

    /** The members of the next epoch in the order of their numbers, or an empty list while somebody is missing. */
    List<Member> complete(int members, int worldSize) {
        if (how == Reform.SHRINK && survivors.size() == members) {
            return List.copyOf(survivors.values());
        }
        if (how == Reform.REPLACE && missing(worldSize).isEmpty()) {
            SortedMap<Integer, Member> all = new TreeMap<>(newcomers);
            all.putAll(survivors);
            return List.copyOf(all.values());
        }
        return List.of();
    }

    List<Integer> missing(int worldSize) {
        List<Integer> missing = new ArrayList<>();
        for (int rank = 0; rank < worldSize; rank++) {
            if (!survivors.containsKey(rank) && !newcomers.containsKey(rank)) {
                missing.add(rank);
            }
        }
        return missing;
    }

    /** Whether the survivors have waited for as long as they wanted to. */
    boolean isOverdue() {
        return how != null && System.nanoTime() - startNanos >= patience.toNanos();
    }

    Reform how() {
        return how;
    }

    Duration patience() {
        return patience;
    }

    /** Those that wait for an answer. */
    List<Member> survivors() {
        return List.copyOf(survivors.values());
    }

    List<Member> newcomers() {
        return List.copyOf(newcomers.values());
    }

    /** Nobody has asked any more; who has come new goes on waiting. */
    void forgetRequests() {
        survivors.clear();
        how = null;
    }

    void forgetAll() {
        forgetRequests();
        newcomers.clear();
    }
}
