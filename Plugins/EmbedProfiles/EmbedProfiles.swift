import Foundation
import PackagePlugin

/// Compiles every YAML file of the folder `profiles` of a target into it, as text.
///
/// The plugin runs whenever the package is loaded, so a file that is added to the folder needs no
/// other change.
@main
struct EmbedProfiles: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let folder = target.directoryURL.appending(path: "profiles")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil
        ).filter { $0.pathExtension == "yaml" }.sorted { $0.path() < $1.path() }
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedProfiles.swift")
        return [
            .buildCommand(
                displayName: "Embedding \(files.count) firmware profiles",
                executable: try context.tool(named: "EmbedProfilesTool").url,
                arguments: [output.path()] + files.map { $0.path() }, inputFiles: files,
                outputFiles: [output])
        ]
    }
}
