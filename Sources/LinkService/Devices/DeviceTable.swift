import DeviceProfiles
import Emulated
import Instruments
import Registry

/// The generated part of `docs/devices.md`: what is supported, and what shows that it works, by the
/// profiles, the compiled-in drivers and the compiled-in models.
public struct DeviceTable: Sendable {
    private let profiles: [DeviceProfile]
    private let registry: DriverRegistry

    /// A table of the profiles of `catalog`.
    public init(_ catalog: ProfileCatalog) {
        profiles = catalog.profiles
        registry = BuiltInDrivers.registry()
    }

    /// The lines between which the generated part of a document stands.
    public static let (begin, end) = (
        "<!-- made by 'berek profiles table --into docs/devices.md'; not to be edited -->",
        "<!-- end of the generated part -->"
    )

    /// Markdown: the table of models and the list of guesses.
    public var text: String {
        let titles = [
            "profile", "model", "kind", "reached over", "driver", "emulated by",
            "driver checked by",
            "emulated model checked by", "facts: seen, memory, assumed", "certified",
        ]
        var lines = [Self.row(titles), Self.row(titles.map { _ in "---" })]
        lines += profiles.map { Self.row(cells(of: $0)) }
        lines += ["", "Guesses, by profile, with the number of fields:", ""]
        let guessing = profiles.filter { !$0.assumedParts.isEmpty }
        lines += guessing.map { profile in
            let parts = profile.assumedParts.map { part in
                part.fields > 1 ? "`\(part.path)` (\(part.fields))" : "`\(part.path)`"
            }
            return "- `\(profile.id)`: " + parts.joined(separator: ", ")
        }
        if guessing.isEmpty { lines.append("- none") }
        return lines.joined(separator: "\n")
    }

    private func cells(of profile: DeviceProfile) -> [String] {
        let counts = profile.fieldsByConfidence
        let model = BuiltInModels.factories.first { $0.models(profile) }
        return [
            "`\(profile.id)`", "\(profile.identity.vendor) \(profile.identity.model)",
            profile.identity.kind.rawValue.replacing("_", with: " "),
            profile.identity.transport.phrase,
            registry.factory(for: profile)?.family ?? "none",
            model.map { "`\(type(of: $0))`" } ?? "none",
            Self.checks(profile.proof?.driver), Self.checks(profile.proof?.model),
            Confidence.allCases.map { String(counts[$0] ?? 0) }.joined(separator: ", "),
            Self.certified(profile),
        ]
    }

    private static func certified(_ profile: DeviceProfile) -> String {
        if profile.assumedFields.isEmpty { return "yes" }
        let isDriverCertified = (try? profile.certified(excluding: ["emulation"])) != nil
        return isDriverCertified ? "driver only" : "no"
    }

    private static func checks(_ entries: [ProofEntry]?) -> String {
        guard let entries, !entries.isEmpty else { return "nothing" }
        return entries.map { entry in
            switch entry.kind {
            case .hardware: "hardware: \(entry.by ?? "")"
            case .client:
                "client \(entry.by ?? "")" + (entry.kernelScript == nil ? "" : ", kernel stage")
            case .encoder: "encoder \(entry.by ?? "")"
            case .recording: "recording: \(entry.by ?? "")"
            case .document: "document: \(entry.by ?? "")"
            case .own: "own tests only"
            }
        }.joined(separator: "; ")
    }

    private static func row(_ cells: [String]) -> String {
        "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |"
    }

    /// `document` with its generated part replaced; nil when it lacks the two lines around it.
    public func written(into document: String) -> String? {
        guard let start = document.firstRange(of: Self.begin + "\n"),
            let stop = document[start.upperBound...].firstRange(of: Self.end)
        else { return nil }
        return String(document[..<start.upperBound]) + text + "\n"
            + String(document[stop.lowerBound...])
    }
}

extension DeviceTransport {
    /// The transport in the words of a list.
    var phrase: String {
        switch self {
        case .usbVendor: "USB, own protocol"
        case .usbFTDI: "USB serial (FTDI)"
        case .usbCDCACM: "USB serial (CDC-ACM)"
        case .usbTMC: "USB, test and measurement class"
        case .usbHID: "USB, human interface class"
        case .serialLine: "serial line, port declared"
        case .gpio: "GPIO lines"
        }
    }
}
