import DeviceProfiles

/// The profiles that are compiled into the program, one YAML file per model.
public enum FirmwareProfiles {
    /// Name and text of each file, ordered by name.
    ///
    /// The plugin `EmbedProfiles` makes them from all files of the folder `profiles`.
    public static let files: [ProfileCatalog.File] = EmbeddedFiles.files

    /// The catalogue of the compiled-in profiles.
    ///
    /// - Throws: `ProfileErrors` when a shipped file is wrong, which the tests exclude.
    public static func catalog() throws(ProfileErrors) -> ProfileCatalog {
        try ProfileCatalog(builtIn: files)
    }

    /// The catalogue of the compiled-in profiles and the user's own.
    ///
    /// - Parameter external: name and text of each `.yaml` file in the directories given with
    ///   `--profiles`; names are used in error messages, so they should be paths.
    /// - Throws: `ProfileErrors` for errors in those files and for duplicates of any profile.
    public static func catalog(
        adding external: [ProfileCatalog.File]
    ) throws(ProfileErrors) -> ProfileCatalog {
        try ProfileCatalog(builtIn: files, external: external)
    }
}
