/// The header of a command as a manual writes it: `[SENSe]:CORRection:WAVelength`.
///
/// Capital letters, digits and underscores are the short form, brackets enclose what may be left out,
/// `#` stands for a numeric suffix (SCPI-99 volume 1, sections 5.1, 6.2.1 and 6.2.5.2). Common
/// commands are written without their asterisk and marked as such.
struct SCPIHeader: Hashable {
    struct Node: Hashable {
        let long: String
        let short: String
        let isOptional: Bool
        let hasSuffix: Bool
    }

    private let nodes: [Node]

    /// Reads a header of a manual. Traps on one without keywords: headers are literals of models.
    init(_ pattern: String) {
        var nodes: [Node] = []
        var isOptional = false
        var keyword = ""
        func finish() {
            guard !keyword.isEmpty else { return }
            let hasSuffix = keyword.last == "#"
            if hasSuffix { keyword.removeLast() }
            nodes.append(
                Node(
                    long: keyword.uppercased(), short: keyword.filter { !$0.isLowercase },
                    isOptional: isOptional, hasSuffix: hasSuffix))
            keyword = ""
        }
        for character in pattern {
            switch character {
            case ":": finish()
            case "[":
                finish()
                isOptional = true
            case "]":
                finish()
                isOptional = false
            default: keyword.append(character)
            }
        }
        finish()
        precondition(!nodes.isEmpty, "a header has a keyword")
        self.nodes = nodes
    }

    /// The numeric suffixes, 1 where one is left out, when `keywords` (in capitals) are this header.
    func match(_ keywords: ArraySlice<String>) -> [Int]? {
        Self.match(nodes[...], keywords)
    }

    private static func match(
        _ nodes: ArraySlice<Node>, _ keywords: ArraySlice<String>
    ) -> [Int]? {
        guard let node = nodes.first else { return keywords.isEmpty ? [] : nil }
        if let keyword = keywords.first, let suffix = node.suffix(of: keyword),
            let rest = match(nodes.dropFirst(), keywords.dropFirst())
        {
            return node.hasSuffix ? [suffix] + rest : rest
        }
        return node.isOptional ? match(nodes.dropFirst(), keywords) : nil
    }
}

extension SCPIHeader.Node {
    /// The suffix of `keyword` when it is this node's long or short form.
    fileprivate func suffix(of keyword: String) -> Int? {
        if keyword == long || keyword == short { return 1 }
        guard hasSuffix else { return nil }
        for form in [long, short] where keyword.hasPrefix(form) {
            let digits = keyword.dropFirst(form.count)
            if digits.utf8.count <= 4, digits.utf8.allSatisfy({ 48...57 ~= $0 }) {
                return Int(digits)
            }
        }
        return nil
    }
}
