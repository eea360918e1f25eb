// Pseudo-terminals and precise waiting: calls that the Glibc module map hides behind _XOPEN_SOURCE
// and _GNU_SOURCE.
#ifndef BEREK_PTY_SHIMS_H
#define BEREK_PTY_SHIMS_H

#include <stddef.h>
#include <stdint.h>

/// Opens a pseudo-terminal, non-blocking and close-on-exec, and writes the path of its slave,
/// ended by a zero, to `name`. Returns the master's descriptor, or -1 with errno set.
int berek_pty_open(char *name, size_t capacity);

/// Waits up to `nanoseconds` until `descriptor` is readable, or also writable if `for_writing`.
void berek_wait_for_io(int descriptor, int for_writing, int64_t nanoseconds);

#endif
