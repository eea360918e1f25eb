import ArgumentParser
import DeviceProfiles
import EventPipeline
import FirmwareProfiles
import LinkService

/// `--profiles DIR`, shared by every command that looks at devices.
struct ProfileOptions: ParsableArguments {
    @Option(
        name: .customLong("profiles"),
        help: ArgumentHelp(
            "Add the firmware profiles (*.yaml) of this folder to the built-in ones.",
            valueName: "dir"))
    var folders: [String] = []

    /// The built-in profiles and those of the folders given.
    func catalog() throws -> ProfileCatalog {
        var files: [ProfileCatalog.File] = []
        for folder in folders {
            for path in try TextFiles.list(folder, suffix: ".yaml") {
                files.append((name: path, text: try TextFiles.read(path)))
            }
        }
        return try FirmwareProfiles.catalog(adding: files)
    }
}

struct Profiles: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists and checks firmware profiles.",
        subcommands: [List.self, Check.self, Table.self, Udev.self], defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the known profiles: what each drives and how sure it is.")

        @OptionGroup var options: ProfileOptions
        @Flag(help: "Print JSON.") var json = false

        func run() throws {
            let profiles = try options.catalog().profiles
            if json {
                print(JSONText.array(profiles.map(Self.document)).text)
                return
            }
            var table = TextTable(["PROFILE", "VENDOR", "MODEL", "KIND", "ORIGIN", "ASSUMED"])
            for profile in profiles {
                table.add([
                    profile.id, profile.identity.vendor, profile.identity.model,
                    profile.identity.kind.rawValue, profile.source.origin.rawValue,
                    String(profile.assumedFields.count),
                ])
            }
            print(table.text)
        }

        private static func document(_ profile: DeviceProfile) -> JSONText {
            .object([
                ("profile", .string(profile.id)), ("vendor", .string(profile.identity.vendor)),
                ("model", .string(profile.identity.model)),
                ("kind", .string(profile.identity.kind.rawValue)),
                ("transport", .string(profile.identity.transport.rawValue)),
                ("origin", .string(profile.source.origin.rawValue)),
                ("file", .string(profile.source.file)),
                ("assumed_fields", .array(profile.assumedFields.map(JSONText.string))),
            ])
        }
    }

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Checks profile files against the schema and the built-in profiles.",
            discussion: """
                Every error is printed as FILE:LINE:COLUMN with what was expected and what was \
                found. With --certified, fields that are guesses are errors too. Exit code 1 when \
                there is any.
                """)

        @ArgumentParser.Argument(help: "Profile files.") var files: [String]
        @Flag(help: "Refuse fields that are marked as assumed.") var certified = false

        func validate() throws {
            if files.isEmpty { throw ValidationError("name at least one file") }
        }

        func run() throws {
            let read = try files.map { (name: $0, text: try TextFiles.read($0)) }
            do {
                let catalog = try ProfileCatalog(builtIn: read)
                if certified { try refuseGuesses(catalog) }
                for profile in catalog.profiles {
                    let assumed = profile.assumedFields.count
                    print("\(profile.source.file): ok, \(profile.id), \(assumed) assumed field(s)")
                }
            } catch let error as ProfileErrors {
                for problem in error.errors { printError("\(problem)") }
                printError("\(error.errors.count) error(s)")
                throw Exit.failed
            }
        }

        private func refuseGuesses(_ catalog: ProfileCatalog) throws {
            var count = 0
            for profile in catalog.profiles {
                for field in profile.assumedFields {
                    let place = profile.place(of: field).map { ":\($0.line):\($0.column)" } ?? ""
                    let scope =
                        field.hasPrefix("emulation.")
                        ? " (matters to the emulated device only)" : ""
                    printError(
                        "\(profile.source.file)\(place): \(field): expected a fact with a source, "
                            + "found an assumption\(scope)")
                    count += 1
                }
            }
            guard count > 0 else { return }
            printError("\(count) error(s)")
            throw Exit.failed
        }
    }

    struct Table: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the table of devices of docs/devices.md, as Markdown.",
            discussion: """
                One row a profile: driver, emulated model, what each was checked against, and how \
                sure the facts are. With --into the part of a document between its two marks is \
                replaced.
                """)

        @OptionGroup var options: ProfileOptions
        @Option(help: ArgumentHelp("Replace the generated part of this file.", valueName: "file"))
        var into: String?

        func run() throws {
            let table = DeviceTable(try options.catalog())
            guard let into else {
                print(table.text)
                return
            }
            guard let text = table.written(into: try TextFiles.read(into)) else {
                throw TextFiles.Failure(
                    description: "\(into): expected the lines '\(DeviceTable.begin)' and "
                        + "'\(DeviceTable.end)' around the generated part, found not both")
            }
            try TextFiles.write(text, to: into)
        }
    }

    struct Udev: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints udev rules that give access to the instruments.",
            discussion: "scripts/install-udev installs them.")

        @OptionGroup var options: ProfileOptions

        func run() throws { print(UdevRules(try options.catalog()).text, terminator: "") }
    }
}
