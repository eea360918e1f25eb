// Calls of the C library and kernel that Swift cannot import by itself: variadic functions,
// headers outside the Glibc module map, and zeroing that the optimiser may not remove.
#ifndef BEREK_SYSTEM_SHIMS_H
#define BEREK_SYSTEM_SHIMS_H

#include <stddef.h>
#include <stdint.h>

#include "pty_shims.h"
#include <sys/epoll.h>

/// Overwrites `count` bytes at `pointer` with zeros; never optimised away.
void berek_explicit_bzero(void *pointer, size_t count);

/// Creates a non-blocking, close-on-exec eventfd. Returns the descriptor, or -1 with errno set.
int berek_eventfd_create(void);

/// Creates a non-blocking, close-on-exec CLOCK_MONOTONIC timerfd. Returns -1 with errno set on failure.
int berek_timerfd_create(void);

/// Arms `descriptor` to fire once at the absolute monotonic time `nanoseconds`; 0 disarms it.
int berek_timerfd_set(int descriptor, int64_t nanoseconds);

/// CLOCK_MONOTONIC in nanoseconds.
int64_t berek_monotonic_nanoseconds(void);

#endif
