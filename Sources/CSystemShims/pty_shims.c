#define _GNU_SOURCE
#include "pty_shims.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int berek_pty_open(char *name, size_t capacity) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0) return -1;
    int failure = 0;
    if (grantpt(master) != 0 || unlockpt(master) != 0) {
        failure = errno;
    } else {
        failure = ptsname_r(master, name, capacity);
    }
    if (failure == 0) return master;
    close(master);
    errno = failure;
    return -1;
}

void berek_wait_for_io(int descriptor, int for_writing, int64_t nanoseconds) {
    struct pollfd what = {.fd = descriptor, .events = POLLIN | (for_writing ? POLLOUT : 0)};
    struct timespec limit = {
        .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    ppoll(&what, 1, &limit, NULL);
}
