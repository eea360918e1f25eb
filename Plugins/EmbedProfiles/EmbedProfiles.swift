import Foundation
import PackagePlugin

/// Compiles every YAML file of a folder into a target, as text: those of its folder `profiles`, or,
/// for a target without one, those of the package's folder `benches`.
///
/// The plugin runs whenever the package is loaded, so a file that is added to the folder needs no
/// other change.
@main
struct EmbedProfiles: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let own = target.directoryURL.appending(path: "profiles")
        let hasOwn = FileManager.default.fileExists(atPath: own.path())
        let folder =
            hasOwn ? own : context.package.directoryURL.appending(path: "benches")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil
        ).filter { $0.pathExtension == "yaml" }.sorted { $0.path() < $1.path() }
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedFiles.swift")
        return [
            .buildCommand(
                displayName: "Embedding \(files.count) files of \(folder.lastPathComponent)",
                executable: try context.tool(named: "EmbedProfilesTool").url,
                arguments: [output.path()] + files.map { $0.path() }, inputFiles: files,
                outputFiles: [output])
        ]
    }
}
