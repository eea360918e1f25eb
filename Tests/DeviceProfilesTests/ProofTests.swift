import DeviceProfiles
import FirmwareProfiles
import Foundation
import Testing

/// The section `proof`, and that what the shipped profiles say in it exists.
struct ProofTests {
    private static let example =
        ExampleProfile.text
        + "\nproof:\n  driver:\n    - {kind: client, by: tt2tool 1.4, test: A.B}\n"
        + "  model:\n    - {kind: own, test: conformance}\n"

    @Test func aProofIsRead() throws {
        let profile = try DeviceProfile(text: Self.example, file: "x.yaml")
        #expect(
            profile.proof?.driver.map { [$0.kind.rawValue, $0.by, $0.test] }
                == [["client", "tt2tool 1.4", "A.B"]])
        #expect(profile.proof?.model.map(\.kind) == [.own])
        #expect(profile.proof?.model.first?.by == nil)
        // It says nothing about the device, so it has no confidence.
        #expect(!profile.confidence.statedFields.contains { $0.hasPrefix("proof") })
        #expect(try DeviceProfile(text: ExampleProfile.text, file: "x.yaml").proof == nil)
    }

    @Test(arguments: [
        (
            "kind: client, by: tt2tool 1.4, test", "kind: rumour, by: tt2tool 1.4, test",
            "proof.driver.0.kind: expected one of hardware, client, encoder, recording, document, "
                + "own, found the text \"rumour\""
        ),
        (
            "by: tt2tool 1.4, ", "",
            "proof.driver.0: expected the key `by` for `client`, found none"
        ),
        (
            "kind: own, test", "kind: own, by: me, test",
            "proof.model.0.by: expected no `by` for `own`, which has no outside source, found one"
        ),
        (
            "test: A.B", "where: A.B",
            "proof.driver.0: expected the key `test`, found none"
        ),
        (
            "  model:\n    - {kind: own, test: conformance}\n", "  model: []\n",
            "proof.model: expected a sequence of 1 to 16 items, found"
        ),
        (
            "test: A.B", "test: kernel/../x.py",
            "proof.driver.0.test: expected `Target.Suite`, `conformance` or `kernel/SCRIPT` (.py or "
                + ".sh), found \"kernel/../x.py\""
        ),
        (
            "test: A.B", "test: sometimes",
            "proof.driver.0.test: expected `Target.Suite`, `conformance` or `kernel/SCRIPT` (.py or "
                + ".sh), found \"sometimes\""
        ),
    ])
    func mistakesAreExplained(old: String, new: String, error: String) {
        let errors = ExampleProfile.errors(Self.example.replacingOccurrences(of: old, with: new))
        #expect(errors.contains { "\($0)".contains(error) }, "\(errors)")
    }

    @Test func aScriptOfTheKernelStageIsATest() throws {
        let text = Self.example.replacingOccurrences(of: "test: A.B", with: "test: kernel/a_1.py")
        let profile = try DeviceProfile(text: text, file: "x.yaml")
        #expect(profile.proof?.driver.first?.kernelScript == "a_1.py")
        #expect(profile.proof?.model.first?.kernelScript == nil)
    }

    @Test func emptyProofIsRefused() {
        let errors = ExampleProfile.errors(ExampleProfile.text + "\nproof: {}\n")
        #expect(errors.map(\.expected) == ["`driver` or `model`"])
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Every shipped profile says what its driver was checked against, by tests that exist.
    @Test func shippedProofsNameTestsThatExist() throws {
        let conformance = try String(
            contentsOf: Self.root.appending(path: "scripts/conformance/requirements.txt"),
            encoding: .utf8)
        let stage = Self.root.appending(path: "Tests/KernelStage")
        let run = try String(
            contentsOf: stage.appending(path: "guest/interop.sh"), encoding: .utf8)
        let clients = try String(
            contentsOf: stage.appending(path: "interop/requirements.txt"), encoding: .utf8)
        let setup = try String(
            contentsOf: Self.root.appending(path: "scripts/setup"), encoding: .utf8
        ).split { " \n()".contains($0) }
        for profile in try FirmwareProfiles.catalog().profiles {
            let proof = try #require(profile.proof, "\(profile.id) has no proof")
            #expect(!proof.driver.isEmpty, "\(profile.id)")
            for entry in proof.driver + proof.model {
                if entry.test == "conformance" {
                    let words = (entry.by ?? "").split(separator: " ")
                    #expect(
                        words.count == 2 && conformance.contains("\(words[0])==\(words[1])"),
                        "\(profile.id): \(entry.by ?? "") is not what conformance runs")
                    continue
                }
                if let script = entry.kernelScript {
                    let file = stage.appending(path: "interop/\(script)")
                    #expect(
                        FileManager.default.fileExists(atPath: file.path()) && run.contains(script),
                        "\(profile.id): \(script) does not run in the kernel stage")
                    // A client of PyPI with its version, or a package of Debian.
                    let words = (entry.by ?? "").split(separator: " ")
                    #expect(
                        words.count == 2
                            && (clients.contains("\(words[0])==\(words[1])\n")
                                || words[1] == "(Debian)" && setup.contains(words[0])),
                        "\(profile.id): \(entry.by ?? "") is not what the kernel stage installs")
                    continue
                }
                let parts = entry.test.split(separator: ".").map(String.init)
                try #require(parts.count == 2, "\(profile.id): \(entry.test)")
                #expect(
                    try Self.text(of: "Tests/\(parts[0])").contains("struct \(parts[1]) "),
                    "\(profile.id): no suite \(entry.test)")
            }
        }
    }

    private static func text(of folder: String) throws -> String {
        let base = root.appending(path: folder)
        let files = try FileManager.default.contentsOfDirectory(atPath: base.path())
        return try files.filter { $0.hasSuffix(".swift") }.map {
            try String(contentsOf: base.appending(path: $0), encoding: .utf8)
        }.joined()
    }
}
