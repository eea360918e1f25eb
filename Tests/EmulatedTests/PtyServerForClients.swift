import DeviceProfiles
import Emulated
import Glibc
import Testing

struct PtyServerForClients {
    @Test(.enabled(if: getenv("PTYSERVE") != nil)) func serve() throws {
        let spec = String(cString: getenv("PTYSERVE")).split(separator: " ").map(String.init)
        let device = try #require(PtyDevice(rawValue: spec[0]))
        try serveOnPty(
            device, profile: try profile(device.profileID), link: spec[1], seed: 1,
            onReady: { print("ready", $0) }, until: { access(spec[2], F_OK) == 0 })
    }
}
