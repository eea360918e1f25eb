import Emulated
import HostIO
import Synchronization

/// A serial port of this machine that leads to an instrument of an emulated bench.
package final class EmulatedSerialHost: SerialHost {
    private let bench: EmulatedBench
    private let instrument: String

    /// The port that leads to `instrument`, which is on a line of its own.
    package init(bench: EmulatedBench, instrument: String) {
        self.bench = bench
        self.instrument = instrument
    }

    /// The name of the port.
    package var path: String { "line to \(instrument)" }

    /// No adapter is behind it that could be recognised: the port has to be declared.
    package func ports() async -> [SerialPortSummary] { [] }

    /// Opens the port as a kernel does: line settings first, then DTR and RTS high.
    package func open(
        path: String, settings: SerialSettings
    ) async throws(ByteStreamError) -> any SerialPort {
        guard path == self.path, let line = bench.serialPort(of: instrument), line.isPluggedIn
        else { throw .notFound(path) }
        let port = EmulatedSerialHandle(line)
        try await port.configure(settings)
        try await port.setModemLines(dtr: true, rts: true)
        return port
    }
}

/// An open file on the port: closing it leaves the cable in.
private final class EmulatedSerialHandle: SerialPort {
    private let line: EmulatedSerialPort
    private let isClosed = Mutex(false)

    init(_ line: EmulatedSerialPort) { self.line = line }

    var isEmulated: Bool { true }

    private func requireOpen() throws(ByteStreamError) {
        if isClosed.withLock({ $0 }) { throw .closed }
    }

    func read(upTo count: Int, timeout: Duration) async throws(ByteStreamError) -> [UInt8] {
        try requireOpen()
        return try await line.read(upTo: count, timeout: timeout)
    }

    func write(_ bytes: [UInt8], timeout: Duration) async throws(ByteStreamError) {
        try requireOpen()
        try await line.write(bytes, timeout: timeout)
    }

    func configure(_ settings: SerialSettings) async throws(ByteStreamError) {
        try requireOpen()
        try await line.configure(settings)
    }

    func setModemLines(dtr: Bool, rts: Bool) async throws(ByteStreamError) {
        try requireOpen()
        try await line.setModemLines(dtr: dtr, rts: rts)
    }

    func discardBuffers() async throws(ByteStreamError) {
        try requireOpen()
        try await line.discardBuffers()
    }

    /// Pending reads end; the last close lowers DTR and RTS.
    func close() async {
        let isFirst = isClosed.withLock { isClosed in
            defer { isClosed = true }
            return !isClosed
        }
        guard isFirst else { return }
        line.endReads()
        try? await line.setModemLines(dtr: false, rts: false)
    }
}
