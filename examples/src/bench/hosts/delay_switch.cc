// A network switch with delay, for network namespaces on one machine (netem is not in every kernel).
// usage: delay_switch PORTS DELAY_MICROSECONDS PREFIX: makes the TAP devices PREFIX0..., prints "ready", runs until killed.
// A frame leaves by the port that the last byte of its destination's MAC address names, broadcasts by all others, each
// DELAY after it came; order is kept.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

namespace {

struct Frame {
    long due;
    int port;
    std::vector<unsigned char> bytes;
};

long now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1'000'000'000L + t.tv_nsec;
}

int open_tap(const std::string& name) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name.c_str());
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        perror(name.c_str());
        exit(1);
    }
    return fd;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: delay_switch PORTS DELAY_MICROSECONDS PREFIX\n");
        return 2;
    }
    const int ports = atoi(argv[1]);
    const long delay = atol(argv[2]) * 1000;
    // Wake up when a frame is due, not some time later, and before the ranks that wait for it.
    prctl(PR_SET_TIMERSLACK, 1);
    sched_param priority{10};
    sched_setscheduler(0, SCHED_FIFO, &priority);
    std::vector<pollfd> taps;
    for (int port = 0; port < ports; port++) {
        taps.push_back({open_tap(argv[3] + std::to_string(port)), POLLIN, 0});
    }
    printf("ready\n");
    fflush(stdout);
    std::deque<Frame> waiting;  // one delay for all, so the first to come is the first due
    std::vector<unsigned char> buffer(1 << 16);
    while (true) {
        timespec wait{1, 0};
        if (!waiting.empty()) {
            const long left = std::max(0L, waiting.front().due - now());
            wait = {left / 1'000'000'000L, left % 1'000'000'000L};
        }
        ppoll(taps.data(), taps.size(), &wait, nullptr);
        for (int from = 0; from < ports; from++) {
            ssize_t length = 1;
            for (int burst = 0; burst < 64 && (taps[from].revents & POLLIN) != 0 && length > 0; burst++) {
                length = read(taps[from].fd, buffer.data(), buffer.size());
                for (int to = 0; length > 0 && to < ports; to++) {
                    const bool all = (buffer[0] & 1) != 0;
                    if (to != from && (all || buffer[5] == to)) {
                        waiting.push_back({now() + delay, to, {buffer.begin(), buffer.begin() + length}});
                    }
                }
            }
        }
        for (; !waiting.empty() && waiting.front().due <= now(); waiting.pop_front()) {
            const Frame& frame = waiting.front();
            // Lost where the device is not up yet.
            [[maybe_unused]] const ssize_t written = write(taps[frame.port].fd, frame.bytes.data(), frame.bytes.size());
        }
    }
}
