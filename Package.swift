// swift-tools-version: 6.2
import Foundation
import PackageDescription

// Layers point downwards only (docs/architecture.md); ArchitectureTests compares every import with
// the dependencies written here and with the arrows that are forbidden outright.

let package = Package(
    name: "berek",
    products: [
        .executable(name: "berek", targets: ["berek"]),
        .library(name: "ProtocolCore", targets: ["ProtocolCore"]),
        .library(name: "OpticalBench", targets: ["OpticalBench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // L0: no dependencies.
        .target(name: "Quantities"),
        .target(name: "CKernels"),
        .target(name: "CSystemShims"),
        .systemLibrary(
            name: "CLibUSB", pkgConfig: "libusb-1.0", providers: [.apt(["libusb-1.0-0-dev"])]),
        .systemLibrary(
            name: "CLibGPIOD", pkgConfig: "libgpiod", providers: [.apt(["libgpiod-dev"])]),

        // L1: ports to the host, data types of the link, facts about devices.
        .target(name: "LinkTypes", dependencies: ["Quantities", "CSystemShims"]),
        .target(name: "HostIO", dependencies: ["Quantities"]),
        .target(
            name: "DeviceProfiles",
            dependencies: ["Quantities", .product(name: "Yams", package: "Yams")]),
        .target(
            name: "FirmwareProfiles", dependencies: ["DeviceProfiles"], path: "firmware-profiles",
            exclude: ["README.md", "profiles"], plugins: ["EmbedProfiles"]),
        // Every file of firmware-profiles/profiles, and of benches, is compiled in.
        .plugin(
            name: "EmbedProfiles", capability: .buildTool(), dependencies: ["EmbedProfilesTool"]),
        .executableTarget(name: "EmbedProfilesTool", path: "Plugins/EmbedProfilesTool"),

        // L2: instrument ports, physics.
        .target(
            name: "Instruments",
            dependencies: ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles"]),
        .target(name: "OpticalBench", dependencies: ["Quantities", "LinkTypes"]),

        // L3: drivers, calibration, the event path, the protocol, Linux, emulation.
        .target(
            name: "TimeTaggers",
            dependencies: ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments"],
            path: "drivers/TimeTaggers", exclude: ["Sessions"]),
        .target(
            name: "PolarizationControllers",
            dependencies: ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments"],
            path: "drivers/PolarizationControllers", exclude: ["Sessions"]),
        .target(
            name: "SinglePhotonDetectors",
            dependencies: ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments"],
            path: "drivers/SinglePhotonDetectors", exclude: ["Sessions"]),
        .target(
            name: "BenchInstruments",
            dependencies: ["Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "Instruments"],
            path: "drivers/BenchInstruments", exclude: ["Sessions"]),
        .target(
            name: "Calibration", dependencies: ["Quantities", "LinkTypes", "Instruments"],
            path: "calibration"),
        .target(
            name: "EventPipeline", dependencies: ["Quantities", "LinkTypes"]),
        .target(name: "ProtocolCore", dependencies: ["Quantities", "LinkTypes", "CKernels"]),
        .target(
            name: "LinuxIO",
            dependencies: ["Quantities", "HostIO", "CLibUSB", "CLibGPIOD", "CSystemShims"]),
        .target(
            name: "Emulated",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "OpticalBench",
                "CSystemShims",
            ],
            path: "drivers/Emulated"),

        // L4: the list of built-in drivers.
        .target(
            name: "Registry",
            dependencies: [
                "HostIO", "DeviceProfiles", "FirmwareProfiles", "Instruments", "TimeTaggers",
                "PolarizationControllers", "SinglePhotonDetectors", "BenchInstruments",
            ],
            path: "drivers/Registry"),

        // L5: a node of the link.
        .target(
            name: "LinkService",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "LinuxIO", "DeviceProfiles",
                "FirmwareProfiles", "Instruments", "OpticalBench", "EventPipeline",
                "ProtocolCore", "Calibration", "Emulated", "Registry", "TimeTaggers",
                .product(name: "Yams", package: "Yams"),
            ], plugins: ["EmbedProfiles"]),

        // L6: the one executable.
        .executableTarget(
            name: "berek",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "LinuxIO", "DeviceProfiles",
                "FirmwareProfiles", "Instruments", "EventPipeline", "ProtocolCore", "Calibration",
                "Registry", "LinkService",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        // Speed (scripts/benchmark-core).
        .executableTarget(
            name: "benchmark-core",
            dependencies: ["Quantities", "LinkTypes", "CKernels", "ProtocolCore", "TestSupport"],
            path: "Benchmarks/Core"),

        // Tests.
        .target(
            name: "TestSupport", dependencies: ["Quantities", "HostIO"], path: "Tests/Support"),
        // What every driver is held to, for the tests, the virtual machine and the fuzz target.
        .target(
            name: "DriverContract",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "FirmwareProfiles",
                "Instruments", "Registry", "OpticalBench", "Emulated",
            ], path: "Tests/DriverContract"),
        // Runs inside the virtual machine of scripts/kernel-stage.
        .executableTarget(
            name: "kernel-stage-guest",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "LinuxIO", "DeviceProfiles",
                "FirmwareProfiles", "Instruments", "OpticalBench", "Emulated", "Registry",
                "LinkService", "CSystemShims", "TimeTaggers", "Calibration",
            ],
            path: "Tests/KernelStage/Guest"),
        .testTarget(name: "QuantitiesTests", dependencies: ["Quantities", "TestSupport"]),
        .testTarget(
            name: "LinkTypesTests", dependencies: ["LinkTypes", "Quantities", "TestSupport"]),
        .testTarget(name: "HostIOTests", dependencies: ["HostIO", "Quantities", "TestSupport"]),
        .testTarget(
            name: "LinuxIOTests",
            dependencies: [
                "LinuxIO", "HostIO", "Quantities", "CLibUSB", "CLibGPIOD", "TestSupport",
            ]),
        .testTarget(
            name: "DeviceProfilesTests",
            dependencies: ["DeviceProfiles", "FirmwareProfiles", "TestSupport"]),
        .testTarget(name: "OpticalBenchTests", dependencies: ["OpticalBench", "TestSupport"]),
        .testTarget(
            name: "EventPipelineTests",
            dependencies: ["EventPipeline", "LinkTypes", "Quantities", "TestSupport"]),
        .testTarget(
            name: "ProtocolCoreTests",
            dependencies: ["ProtocolCore", "CKernels", "LinkTypes", "Quantities", "TestSupport"]),
        .testTarget(
            name: "TimeTaggersTests",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "FirmwareProfiles",
                "Instruments", "TimeTaggers", "TestSupport",
            ]),
        .testTarget(
            name: "PolarizationControllersTests",
            dependencies: [
                "Quantities", "HostIO", "DeviceProfiles", "FirmwareProfiles", "Instruments",
                "PolarizationControllers", "TestSupport",
            ]),
        .testTarget(
            name: "SinglePhotonDetectorsTests",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "FirmwareProfiles",
                "Instruments", "SinglePhotonDetectors", "TestSupport",
            ]),
        .testTarget(
            name: "BenchInstrumentsTests",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "FirmwareProfiles",
                "Instruments", "BenchInstruments", "TestSupport",
            ]),
        .testTarget(
            name: "EmulatedTests",
            dependencies: [
                "Quantities", "HostIO", "DeviceProfiles", "OpticalBench", "Emulated",
                "FirmwareProfiles", "TestSupport",
            ]),
        .testTarget(
            name: "DriverContractTests",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "FirmwareProfiles",
                "Instruments", "Registry", "OpticalBench", "Emulated", "DriverContract", "LinuxIO",
                "TestSupport",
            ]),
        .testTarget(
            name: "CalibrationTests", dependencies: ["Calibration", "OpticalBench", "TestSupport"]),
        .testTarget(
            name: "LinkServiceTests",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "Instruments", "OpticalBench", "ProtocolCore",
                "Calibration", "DeviceProfiles", "Emulated", "EventPipeline", "FirmwareProfiles",
                "LinuxIO", "LinkService", "Registry", "TestSupport", "TimeTaggers",
            ]),
        .testTarget(name: "CommandLineTests", dependencies: ["TestSupport"]),
        .testTarget(name: "ArchitectureTests", dependencies: ["TestSupport"]),
    ],
    swiftLanguageModes: [.v6]
)

// The fuzzed decoders (scripts/fuzz). libFuzzer brings the main function, and everything that runs
// in them is instrumented, so they are not part of an ordinary build.
let isFuzzing = ProcessInfo.processInfo.environment["BEREK_FUZZ"] == "1"
let sanitizers = ["-sanitize=fuzzer,address"]
if isFuzzing {
    package.products = [.executable(name: "fuzz-targets", targets: ["fuzz-targets"])]
    package.targets.append(
        .executableTarget(
            name: "fuzz-targets",
            dependencies: [
                "Quantities", "LinkTypes", "HostIO", "DeviceProfiles", "FirmwareProfiles",
                "OpticalBench", "EventPipeline", "Emulated", "DriverContract", "TestSupport",
            ],
            path: "Tests/Fuzzing/Targets",
            swiftSettings: [.enableExperimentalFeature("Extern")],
            linkerSettings: [.unsafeFlags(sanitizers)]))
}

for target in package.targets where target.type != .system && target.type != .plugin {
    switch target.name {
    case "CKernels", "CSystemShims":
        target.cSettings = (target.cSettings ?? []) + [.treatAllWarnings(as: .error)]
    default:
        target.swiftSettings =
            (target.swiftSettings ?? []) + [
                .treatAllWarnings(as: .error),
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
            ]
        if isFuzzing, target.name != "EmbedProfilesTool" {
            target.swiftSettings?.append(.unsafeFlags(sanitizers))
        }
    }
}
