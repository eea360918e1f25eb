import DeviceProfiles

/// The profiles that are compiled into the program, one YAML file per model.
public enum FirmwareProfiles {
    /// Name and text of each file, ordered by name.
    ///
    /// The list is written out because embedded resources are known to the compiler by name only;
    /// a test compares it with the folder `profiles`.
    public static let files: [ProfileCatalog.File] = [
        file("cqt-timestamp-usb", PackageResources.cqt_timestamp_usb_yaml),
        file("s15-spd", PackageResources.s15_spd_yaml),
        file("s15-tdc1", PackageResources.s15_tdc1_yaml),
        file("thorlabs-mpc320", PackageResources.thorlabs_mpc320_yaml),
        file("ttl-gated-spad", PackageResources.ttl_gated_spad_yaml),
    ]

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

    private static func file(_ id: String, _ bytes: [UInt8]) -> ProfileCatalog.File {
        (id + ".yaml", String(decoding: bytes, as: UTF8.self))
    }
}
