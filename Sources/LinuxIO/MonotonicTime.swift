import CSystemShims
import Quantities

/// The system's monotonic clock, for code at the live edge that has no reactor.
public enum MonotonicTime {
    /// The present instant.
    public static var now: HostInstant {
        HostInstant(nanoseconds: berek_monotonic_nanoseconds())
    }
}
