import Synchronization

/// What happens to one passage of bytes between a driver and its instrument.
package enum Tamper: Hashable, Sendable {
    /// One byte, counted round and round, is changed by exclusive or.
    case alter(position: Int, mask: UInt8)
    /// One byte is lost; the only one of a passage takes the passage along.
    case lose(position: Int)
    /// The whole passage is lost.
    case drop
    /// It arrives twice.
    case duplicate
    /// It arrives in two pieces, the second a little later.
    case split(Int)
    /// It is late by so many milliseconds.
    case delay(Int)
    /// It is refused, or does not come before its time-out.
    case stall
    /// The cable comes out.
    case disconnect
}

/// Which way bytes go.
package enum Passage: Sendable {
    /// From the driver to the instrument.
    case toDevice
    /// From the instrument to the driver.
    case toHost
}

/// When something happens to the bytes between a driver and its instrument, and what.
///
/// Three bytes make a step: how many passages of its direction go by untouched; bit 7 the direction,
/// set for the one towards the host, and bits 0 to 2 what happens to the next one; a number for that.
/// Steps are taken one after the other; after the last one every passage is untouched.
package final class TamperScript: Sendable {
    private struct State {
        var steps: ArraySlice<Step>
        var waited = 0
        var isOver = false
    }
    private struct Step {
        var wait: Int
        var passage: Passage
        var tamper: Tamper
    }
    private let state: Mutex<State>

    /// A script of the steps that `bytes` hold; a rest of fewer than three is ignored.
    package init(_ bytes: some Collection<UInt8>) {
        let bytes = Array(bytes)
        let steps = stride(from: 0, to: bytes.count - 2, by: 3).map { start in
            Step(
                wait: Int(bytes[start]),
                passage: bytes[start + 1] & 0x80 == 0 ? .toDevice : .toHost,
                tamper: Self.tamper(bytes[start + 1] & 7, Int(bytes[start + 2])))
        }
        state = Mutex(State(steps: steps[...]))
    }

    private static func tamper(_ kind: UInt8, _ number: Int) -> Tamper {
        switch kind {
        case 0: .alter(position: number >> 3, mask: 1 << UInt8(number & 7))
        case 1: .lose(position: number)
        case 2: .drop
        case 3: .duplicate
        case 4: .split(number)
        case 5: .delay(number * 4)
        case 6: .stall
        default: .disconnect
        }
    }

    /// What happens to the passage that comes now, if anything.
    func next(_ passage: Passage) -> Tamper? {
        state.withLock { state in
            guard !state.isOver, let step = state.steps.first, step.passage == passage else {
                return nil
            }
            guard state.waited >= step.wait else {
                state.waited += 1
                return nil
            }
            state.waited = 0
            state.steps.removeFirst()
            return step.tamper
        }
    }

    /// From now on nothing happens any more.
    package func stop() { state.withLock { $0.isOver = true } }
}

extension Tamper {
    /// How late the second piece of a split passage is.
    static let splitGap = Duration.milliseconds(3)

    /// What becomes of bytes that are changed on the spot; nil for what takes time or fails.
    func changed(_ bytes: [UInt8]) -> [UInt8]? {
        var result = bytes
        switch self {
        case .alter(let position, let mask):
            if !bytes.isEmpty { result[position % bytes.count] ^= mask }
        case .lose(let position):
            if !bytes.isEmpty { result.remove(at: position % bytes.count) }
        case .drop: result = []
        case .duplicate: result += bytes
        case .split, .delay, .stall, .disconnect: return nil
        }
        return result
    }
}
