import HostIO
import Instruments
import Quantities

/// Commands and whole replies of a text instrument whose replies are more than one line, or no line
/// at all. Belongs to one driver actor.
///
/// What a whole reply is, the parser of the wire decides. After an exchange that failed, whatever
/// is still under way is discarded before the next command, so that a late reply is never taken for
/// the reply to another command.
package final class TextExchange {
    private let stream: InstrumentStream
    private let reactor: any Reactor
    private let instrument: String
    private var isOutOfStep = true
    private static let longestReply = 4096
    private static let writeTimeout = Duration.seconds(1)
    private static let quiet = Duration.milliseconds(50)
    private static let longestDrain = Duration.seconds(2)

    package init(_ stream: InstrumentStream, reactor: any Reactor, instrument: String) {
        self.stream = stream
        self.reactor = reactor
        self.instrument = instrument
    }

    /// Sends `text` as it is, then reads until `parse` recognises a reply in what has arrived.
    ///
    /// - Parameter parse: called with all bytes since the command, and whether no more will come.
    /// - Throws: `timedOut` when nothing is recognised in time, `malformedReply` beyond 4096 bytes,
    ///   the error of the stream.
    package func exchange<Reply>(
        _ text: String, timeout: Duration, operation: String,
        parse: (_ bytes: [UInt8], _ isLast: Bool) -> Reply?
    ) async throws(DriverError) -> Reply {
        if isOutOfStep { try await drain(operation) }
        isOutOfStep = true
        do throws(ByteStreamError) {
            try await stream.bytes.write(Array(text.utf8), timeout: Self.writeTimeout)
        } catch { throw DriverError(error, instrument: instrument, operation: operation) }
        let deadline = reactor.now + timeout
        var received: [UInt8] = []
        while received.count <= Self.longestReply {
            do throws(ByteStreamError) {
                let left = deadline - reactor.now
                guard left > .zero else { throw .timedOut }
                received += try await stream.bytes.read(upTo: 1024, timeout: left)
            } catch {
                if error == .timedOut, let reply = parse(received, true) { return reply }
                throw DriverError(error, instrument: instrument, operation: operation)
            }
            if let reply = parse(received, false) {
                isOutOfStep = false
                return reply
            }
        }
        throw DriverError(
            code: .malformedReply, instrument: instrument, operation: operation,
            expected: "the end of a reply within \(Self.longestReply) bytes",
            found: "\(received.count) bytes without an end",
            advice: "check that the port belongs to this model, then open the instrument again")
    }

    /// Discards what arrives until the line has been quiet for 50 ms.
    private func drain(_ operation: String) async throws(DriverError) {
        let deadline = reactor.now + Self.longestDrain
        while reactor.now < deadline {
            do throws(ByteStreamError) {
                _ = try await stream.bytes.read(upTo: 1024, timeout: Self.quiet)
            } catch .timedOut {
                return
            } catch { throw DriverError(error, instrument: instrument, operation: operation) }
        }
        throw DriverError(
            code: .malformedReply, instrument: instrument, operation: operation,
            expected: "a line that falls silent", found: "bytes for \(Self.longestDrain)",
            advice: "check that the port belongs to this model and its baud rate")
    }
}

/// Plain numbers in replies.
package enum PlainNumber {
    /// The whole number that `text` is; nil for anything else, an empty text included.
    package static func integer(_ text: some StringProtocol) -> Int? {
        let digits = text.first == "-" || text.first == "+" ? text.dropFirst() : text[...]
        guard !digits.isEmpty, digits.utf8.count <= 18,
            digits.utf8.allSatisfy({ 0x30...0x39 ~= $0 })
        else { return nil }
        return Int(text)
    }

    /// The decimal number that `text` is; nil for anything else. `Double` alone would also read
    /// "nan", "inf" and hexadecimal.
    package static func decimal(_ text: some StringProtocol) -> Double? {
        guard !text.isEmpty, text.utf8.count <= 32,
            text.utf8.allSatisfy({ 0x30...0x39 ~= $0 || "+-.".utf8.contains($0) })
        else { return nil }
        return Double(String(text))
    }
}
