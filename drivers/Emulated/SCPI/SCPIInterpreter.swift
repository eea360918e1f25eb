import HostIO
import Quantities

/// An instrument with a command language in the manner of SCPI, whatever carries its messages.
public protocol EmulatedSCPIDevice: FaultTarget {
    /// Its interpreter.
    var interpreter: SCPIInterpreter { get }
    /// Lets inner life that is due happen.
    func advance(to now: HostInstant)
    /// The next instant, after `now`, at which something happens by itself.
    func nextWake(after now: HostInstant) -> HostInstant?
}

/// Parses program messages, carries commands out, and keeps the output queue, the error queue and the
/// status registers.
///
/// Written from IEEE 488.2-1992, chapters 6 (message exchange), 7 (syntax), 10 (common commands) and
/// 11 (status), and SCPI-99 volume 1, chapters 5 to 7, and volume 2, section 21.8. Messages are
/// carried out when they arrive; an answer may take its time. Not modelled: macros, block data,
/// overlapped commands.
public final class SCPIInterpreter {
    typealias Query = (SCPICall) throws(SCPIFault) -> String
    typealias Action = (SCPICall) throws(SCPIFault) -> Void

    private struct Entry {
        let header: SCPIHeader
        let isCommon: Bool
        let query: Query?
        let action: Action?
    }

    private let longestKeyword: Int?
    private let terminator: [UInt8]
    private var entries: [Entry] = []
    private var faults: [SCPIFault] = []
    private var events: UInt8 = 0x80
    private var eventMask: UInt8 = 0
    private var requestMask: UInt8 = 0
    private var wasRequesting = false
    private var hasRequest = false
    private var output: [UInt8]?
    private var readyAt = HostInstant.zero
    private var workEnds = HostInstant.zero

    /// What `*RST` does to the instrument.
    var onReset: ((HostInstant) -> Void)?

    private static let deepestQueue = 16

    /// An interpreter that knows the mandatory commands.
    ///
    /// - Parameters:
    ///   - terminator: what stands at the end of every answer.
    ///   - longestKeyword: the limit of IEEE 488.2 is 12 letters; nil for instruments that break it.
    init(terminator: String, longestKeyword: Int? = 12) {
        self.terminator = Array(terminator.utf8)
        self.longestKeyword = longestKeyword
        addMandatoryCommands()
    }

    // MARK: - The instrument's side

    /// Adds a command, a query, or both.
    func add(_ header: String, query: Query? = nil, action: Action? = nil) {
        entries.append(
            Entry(header: SCPIHeader(header), isCommon: false, query: query, action: action))
    }

    /// Adds a common command, by its letters after the asterisk.
    func addCommon(_ letters: String, query: Query? = nil, action: Action? = nil) {
        entries.append(
            Entry(header: SCPIHeader(letters), isCommon: true, query: query, action: action))
    }

    /// The command that is being carried out takes so long; its answer comes after that.
    func takeTime(_ time: Duration, from now: HostInstant) { workEnds = max(workEnds, now) + time }

    /// Puts an error into the queue; the newest is replaced when the queue is full.
    func report(_ fault: SCPIFault) {
        events |= fault.eventBit
        if faults.count < Self.deepestQueue {
            faults.append(fault)
        } else {
            faults[Self.deepestQueue - 1] = .queueOverflow
        }
        updateRequest()
    }

    /// Forgets everything, as after power-on.
    func powerUp() {
        faults = []
        events = 0x80
        eventMask = 0
        requestMask = 0
        hasRequest = false
        deviceClear()
    }

    // MARK: - The bus's side

    /// Carries a whole message out.
    ///
    /// - Parameter isInterrupting: whether the answer to an earlier one has not been read to its end.
    func receive(_ message: [UInt8], isInterrupting: Bool, at now: HostInstant) {
        if isInterrupting || output != nil {
            output = nil
            report(.interrupted)
        }
        workEnds = now
        var answers: [String] = []
        var path: ArraySlice<String> = []
        for text in SCPIMessage.units(message) {
            do throws(SCPIFault) {
                let unit = try SCPIMessage.parse(text, longestKeyword: longestKeyword)
                if let answer = try carryOut(unit, &path, at: now) { answers.append(answer) }
            } catch {
                report(error)
                if error.endsMessage { break }
            }
        }
        if !answers.isEmpty {
            output = Array(answers.joined(separator: ";").utf8) + terminator
            readyAt = workEnds
        }
        updateRequest()
    }

    /// The answer, once it is ready; it then leaves the output queue.
    func takeAnswer(at now: HostInstant) -> [UInt8]? {
        guard output != nil, readyAt <= now else { return nil }
        defer {
            output = nil
            updateRequest()
        }
        return output
    }

    /// When the answer is ready; nil without one.
    var answerReady: HostInstant? { output == nil ? nil : readyAt }

    /// The bus asks for an answer and there is none (IEEE 488.2-1992, section 6.3.2.2).
    func unterminated() { report(.unterminated) }

    /// Empties input and output; errors and registers stay (IEEE 488.2-1992, section 5.8).
    func deviceClear() {
        output = nil
        updateRequest()
    }

    /// The status byte (section 11.2), with the error queue in bit 2 as SCPI has it.
    var statusByte: UInt8 {
        let summary: UInt8 = (events & eventMask != 0 ? 0x20 : 0)
        let byte = summary | (output == nil ? 0 : 0x10) | (faults.isEmpty ? 0 : 0x04)
        return byte | (byte & requestMask != 0 ? 0x40 : 0)
    }

    /// Whether service has been requested since this was asked last.
    func takeServiceRequest() -> Bool {
        defer { hasRequest = false }
        return hasRequest
    }

    private func updateRequest() {
        let isRequesting = statusByte & 0x40 != 0
        if isRequesting, !wasRequesting { hasRequest = true }
        wasRequesting = isRequesting
    }

    // MARK: - Commands

    /// - Parameter path: where in the tree the previous command of the message was.
    private func carryOut(
        _ unit: SCPIUnit, _ path: inout ArraySlice<String>, at now: HostInstant
    ) throws(SCPIFault) -> String? {
        var keywords = unit.keywords[...]
        if !unit.isCommon {
            if !unit.isRooted { keywords = path + keywords }
            // Common commands leave the place in the tree as it is.
            path = keywords.dropLast()
        }
        for entry in entries where entry.isCommon == unit.isCommon {
            guard let suffixes = entry.header.match(keywords) else { continue }
            let call = SCPICall(now: now, suffixes: suffixes, parameters: unit.parameters)
            if unit.isQuery, let query = entry.query { return try query(call) }
            if !unit.isQuery, let action = entry.action {
                try action(call)
                return nil
            }
        }
        throw .undefinedHeader
    }

    private func addMandatoryCommands() {
        addCommon(
            "CLS",
            action: { [unowned self] call throws(SCPIFault) in
                try call.expect(atMost: 0)
                faults = []
                events = 0
            })
        addCommon(
            "RST",
            action: { [unowned self] call throws(SCPIFault) in
                try call.expect(atMost: 0)
                onReset?(call.now)
            })
        addCommon(
            "OPC", query: { _ throws(SCPIFault) in "1" },
            action: { [unowned self] _ throws(SCPIFault) in events |= 1 })
        addCommon("WAI", action: { _ throws(SCPIFault) in })
        addCommon("TST", query: { _ throws(SCPIFault) in "0" })
        addCommon(
            "ESR",
            query: { [unowned self] _ throws(SCPIFault) in
                defer { events = 0 }
                return "\(events)"
            })
        addCommon(
            "ESE", query: { [unowned self] _ throws(SCPIFault) in "\(eventMask)" },
            action: { [unowned self] call throws(SCPIFault) in
                eventMask = UInt8(try call.number(in: 0...255).rounded())
            })
        addCommon(
            "SRE", query: { [unowned self] _ throws(SCPIFault) in "\(requestMask)" },
            action: { [unowned self] call throws(SCPIFault) in
                // Bit 6 can not ask for itself.
                requestMask = UInt8(try call.number(in: 0...255).rounded()) & 0xBF
            })
        addCommon("STB", query: { [unowned self] _ throws(SCPIFault) in "\(statusByte)" })
        add(
            "SYSTem:ERRor[:NEXT]",
            query: { [unowned self] _ throws(SCPIFault) in
                let fault = faults.isEmpty ? .none : faults.removeFirst()
                return (fault.code < 0 ? "" : "+") + "\(fault.code),\"\(fault.text)\""
            })
        add("SYSTem:VERSion", query: { _ throws(SCPIFault) in "1999.0" })
    }
}
