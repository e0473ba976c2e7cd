#!/bin/sh
# All-reduces between hosts, played by network namespaces of this machine, with a delay on every way between them: by each
# algorithm, with the bytes that leave the first host's interface. Needs root, the commands ip and tc, /dev/net/tun and a C++ compiler.
# usage: examples/src/bench/hosts/bench.sh [HOSTS] [DELAY_MICROSECONDS] [RATE] [TRANSPORT] [block|turns|both]
#   RATE: of each host's way out, as tc takes it (100mbit, 1gbit), by a token bucket (tbf) smaller than a message; or none
#   block: ranks 0 and 1 on the first host, 2 and 3 on the second, ...; turns: rank r on host r mod HOSTS
#   The variable CONGESTION names another congestion control than cubic.
# Without arguments: 2 hosts, 1000 us, 1gbit, tcp, both placements one after the other.
set -eu
hosts=${1:-2}
delay=${2:-1000}
rate=${3:-1gbit}
transport=${4:-tcp}
placements=${5:-both}
[ "$placements" != both ] || placements="block turns"
here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../../../.." && pwd)
name=tb$$
work=$(mktemp -d)
switch=

clean() {
    [ -z "$switch" ] || kill "$switch" 2>/dev/null || true
    for host in $(seq 0 $((hosts - 1))); do
        ip netns del "$name-$host" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

"${CXX:-c++}" -std=c++17 -O2 -o "$work/switch" "$here/delay_switch.cc"
"$work/switch" "$hosts" "$delay" "$name" > "$work/ready" &
switch=$!
until [ -s "$work/ready" ]; do
    kill -0 "$switch" || exit 1
    sleep 0.05
done

names=
for host in $(seq 0 $((hosts - 1))); do
    net=$name-$host
    dev=$name$host
    ip netns add "$net"
    ip link set "$dev" address "02:00:00:00:00:0$host"
    ip link set "$dev" netns "$net"
    ip -n "$net" addr add "10.78.0.$((host + 1))/24" dev "$dev"
    ip -n "$net" link set "$dev" mtu 1500 txqueuelen 5000 up
    ip -n "$net" link set lo up
    # What most systems use. BBR paces short messages by what short messages have reached before: one round trip more each.
    ip -n "$net" route replace 10.78.0.0/24 dev "$dev" congctl "${CONGESTION:-cubic}"
    [ "$rate" = none ] || ip netns exec "$net" tc qdisc add dev "$dev" root tbf rate "$rate" burst 4kb latency 400ms
    names="$names${names:+,}10.78.0.$((host + 1)):2"
    for rank in $(seq 0 $((2 * hosts - 1))); do
        [ $((rank % hosts)) -ne "$host" ] || echo "$rank 10.78.0.$((host + 1))" >> "$work/turns"
    done
done
# In ssh's place: the last byte of the address is the namespace's number and 1.
cat > "$work/ssh" << END
#!/bin/sh
exec ip netns exec "$name-\$((\${2##*.} - 1))" sh -c "\$3"
END
chmod +x "$work/ssh"

for placement in $placements; do
    if [ "$placement" = turns ]; then
        where="--rank-file $work/turns"
    else
        where="--hosts $names"
    fi
    echo "$hosts hosts x 2 ranks, $placement, $delay us each way, rate $rate, $transport:"
    # shellcheck disable=SC2086
    ip netns exec "$name-0" "$home/treeattn" launch --transport "$transport" --ssh "$work/ssh -q" $where \
        --jvm-flag=-Xmx128m -- io.github.treeattention.examples.bench.HostsRank "$name"0
done
