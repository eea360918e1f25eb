#include <libusb-1.0/libusb.h>

/// Handles the events that are ready on `context`, without waiting for more.
static inline int berek_libusb_handle_ready_events(libusb_context *context) {
    struct timeval zero = {0, 0};
    return libusb_handle_events_timeout_completed(context, &zero, 0);
}
