import CSystemShims
import Glibc
import HostIO
import LinuxIO
import Quantities

/// Threads of ordinary priority that want the processor, as the other programs of a busy machine
/// do.
final class Crowd {
    private let threads: [EpollReactor]

    init(_ count: Int) throws { threads = try (0..<count).map { _ in try EpollReactor() } }

    /// Wakes the threads one after the other, the last one shortly before `instant`, and keeps them
    /// at work until some time after it.
    ///
    /// A thread that has slept long and wakes is not preempted for some milliseconds: that is when
    /// `instant` comes too late for another one of ordinary priority.
    func work(around instant: HostInstant) {
        for (index, thread) in threads.enumerated() {
            thread.schedule(at: instant + .microseconds(-200 - 700 * index)) {
                while MonotonicTime.now < instant + .milliseconds(8) {}
            }
        }
    }

    /// Ends the threads.
    func leave() { for thread in threads { thread.stop() } }
}

extension EpollReactor {
    /// Makes this reactor's thread the hardware of the machine: it runs as soon as its time has
    /// come, whatever the programs do.
    ///
    /// The bench stands for instruments, and no instrument waits for the scheduler of the host.
    /// With one processor and ordinary priority, its pulses came late by as much as other processes
    /// had to finish first; eleven workers of udevd that end together took 20 ms.
    func becomeHardware() async throws {
        let code = await withCheckedContinuation { (done: CheckedContinuation<Int32, Never>) in
            schedule(at: now) {
                // The lowest real-time priority: interrupt threads of the kernel come first.
                // Threads that are started from here, such as those of the shared pool, are no
                // hardware.
                var parameters = sched_param()
                parameters.sched_priority = sched_get_priority_min(SCHED_FIFO)
                let status = sched_setscheduler(0, SCHED_FIFO | Self.resetOnFork, &parameters)
                done.resume(returning: status == 0 ? 0 : errno)
            }
        }
        guard code == 0 else {
            throw CheckFailure("SCHED_FIFO: \(String(cString: strerror(code)))")
        }
    }

    /// `SCHED_RESET_ON_FORK`.
    private static var resetOnFork: Int32 { 0x4000_0000 }
}
