import EventPipeline
import HostIO
import LinuxIO
import Quantities
import Synchronization

/// Answers requests on the control socket, any number of them on each connection, in order.
struct BenchControlServer: Sendable {
    let listener: UnixListener
    let reactor: EpollReactor
    let isStopped: @Sendable () -> Bool
    let perform: @Sendable (BenchRequest) async -> Result<JSONText, BenchControlError>

    /// How late a connection may notice that the bench stops.
    private static let pace = Duration.milliseconds(100)
    /// A client that does not take its answer in this time is not there.
    private static let patience = Duration.seconds(10)

    /// Serves until the bench stops.
    func serve() async {
        let count = Counter()
        while !isStopped() {
            guard let stream = try? await listener.accept(timeout: Self.pace) else { continue }
            guard count.enter(atMost: BenchControl.clients) else {
                await refuse(
                    stream,
                    BenchControlError(
                        .tooManyClients, "at most \(BenchControl.clients) clients", "another one"))
                continue
            }
            reactor.start {
                await converse(stream)
                count.leave()
            }
        }
    }

    private func converse(_ stream: any ByteStream) async {
        var reader = LineReader(stream, longest: BenchControl.longestLine)
        while !isStopped() {
            do {
                guard let line = try await reader.next(timeout: Self.pace) else { break }
                let (id, request) = BenchControl.request(line)
                let result: Result<JSONText, BenchControlError>
                switch request {
                case .success(let request): result = await perform(request)
                case .failure(let error): result = .failure(error)
                }
                try await stream.write(BenchControl.reply(id, result), timeout: Self.patience)
            } catch ByteStreamError.timedOut {
                continue
            } catch is LineReader.TooLong {
                return await refuse(
                    stream,
                    BenchControlError(
                        .tooLong, "a line of at most \(BenchControl.longestLine) bytes",
                        "a longer one"))
            } catch { break }
        }
        await stream.close()
    }

    private func refuse(_ stream: any ByteStream, _ error: BenchControlError) async {
        try? await stream.write(
            BenchControl.reply(.null, .failure(error)), timeout: Self.patience)
        await stream.close()
    }
}

/// How many are inside.
private final class Counter: Sendable {
    private let state = Mutex(0)

    func enter(atMost limit: Int) -> Bool {
        state.withLock { count in
            guard count < limit else { return false }
            count += 1
            return true
        }
    }

    func leave() { state.withLock { $0 -= 1 } }
}
