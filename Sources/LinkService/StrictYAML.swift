import Yams

/// What is wrong in a configuration file, with its place.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file.
    public let file: String
    /// The line, counted from 1; 0 for the file as a whole.
    public let line: Int
    /// The column, counted from 1; 0 for the file as a whole.
    public let column: Int
    /// What was expected there.
    public let expected: String
    /// What was found.
    public let found: String
    /// `file:line:column: expected …, found …`.
    public var description: String {
        "\(file):\(line):\(column): expected \(expected), found \(found)"
    }
}

/// Strict reading of a small YAML file: every error has its place.
struct StrictYAML {
    let file: String

    func error(_ node: Node?, _ expected: String, _ found: String) -> ConfigurationError {
        ConfigurationError(
            file: file, line: node?.mark?.line ?? 0, column: node?.mark?.column ?? 0,
            expected: expected, found: found)
    }

    func document(_ text: String) throws(ConfigurationError) -> Node {
        guard text.utf8.count <= 65_536 else {
            throw error(nil, "at most 65536 bytes", "\(text.utf8.count)")
        }
        do {
            guard let node = try compose(yaml: text) else {
                throw error(nil, "a mapping of settings", "an empty file")
            }
            return node
        } catch let problem as ConfigurationError {
            throw problem
        } catch let problem as YamlError {
            throw Self.error(problem, file: file)
        } catch {
            throw self.error(nil, "YAML", "\(error)")
        }
    }

    /// What the parser says, with the place it names.
    private static func error(_ problem: YamlError, file: String) -> ConfigurationError {
        switch problem {
        case .scanner(_, let what, let mark, _), .parser(_, let what, let mark, _),
            .composer(_, let what, let mark, _):
            ConfigurationError(
                file: file, line: mark.line, column: mark.column, expected: "YAML", found: what)
        case .duplicatedKeysInMapping(let keys, let context):
            ConfigurationError(
                file: file, line: context.mark.line, column: context.mark.column,
                expected: "each key once", found: "\(keys.joined(separator: ", ")) again")
        default:
            ConfigurationError(
                file: file, line: 0, column: 0, expected: "YAML", found: "\(problem)")
        }
    }

    func text(_ node: Node) -> String { node.string.map { "'\($0)'" } ?? "a collection" }

    func mapping(
        _ node: Node, _ expected: String
    ) throws(ConfigurationError) -> [(key: Node, name: String, value: Node)] {
        guard let mapping = node.mapping else { throw error(node, expected, text(node)) }
        var result: [(key: Node, name: String, value: Node)] = []
        for (key, value) in mapping {
            guard let name = key.string else { throw error(key, "a word", "a collection") }
            result.append((key, name, value))
        }
        return result
    }

    /// The values of a mapping by key, each of which must be known and stand once.
    func fields(
        _ node: Node, _ names: [String], _ expected: String
    ) throws(ConfigurationError) -> [String: Node] {
        var fields: [String: Node] = [:]
        for (key, name, value) in try mapping(node, expected) {
            guard names.contains(name) else {
                throw error(key, "one of \(names.joined(separator: ", "))", "'\(name)'")
            }
            guard fields.updateValue(value, forKey: name) == nil else {
                throw error(key, "each key once", "'\(name)' again")
            }
        }
        return fields
    }

    func required(
        _ fields: [String: Node], _ name: String, of node: Node
    ) throws(ConfigurationError) -> Node {
        guard let value = fields[name] else {
            throw error(node, "the key '\(name)'", "no such key")
        }
        return value
    }

    func sequence(
        _ node: Node, _ counts: ClosedRange<Int>, of what: String
    ) throws(ConfigurationError) -> [Node] {
        guard let items = node.sequence.map(Array.init), counts.contains(items.count) else {
            let number =
                counts.lowerBound == counts.upperBound
                ? "\(counts.lowerBound)" : "\(counts.lowerBound) to \(counts.upperBound)"
            let found = node.sequence.map { "\($0.count)" } ?? text(node)
            throw error(node, "a list of \(number) \(what)", found)
        }
        return items
    }

    func string(
        _ node: Node, _ expected: String, _ isValid: (String) -> Bool
    ) throws(ConfigurationError) -> String {
        guard let value = node.string, isValid(value) else {
            throw error(node, expected, text(node))
        }
        return value
    }

    func flag(_ node: Node) throws(ConfigurationError) -> Bool {
        switch node.string {
        case "true": return true
        case "false": return false
        default: throw error(node, "true or false", text(node))
        }
    }

    func word<Word: RawRepresentable & CaseIterable>(
        _ node: Node, _ type: Word.Type
    ) throws(ConfigurationError) -> Word where Word.RawValue == String {
        guard let word = node.string.flatMap(Word.init(rawValue:)) else {
            let words = Word.allCases.map(\.rawValue).joined(separator: ", ")
            throw error(node, "one of \(words)", text(node))
        }
        return word
    }

    func integer(
        _ node: Node, _ range: ClosedRange<UInt64>
    ) throws(ConfigurationError) -> UInt64 {
        guard let value = node.string.flatMap({ UInt64($0) }), range.contains(value) else {
            throw error(
                node, "an integer from \(range.lowerBound) to \(range.upperBound)", text(node))
        }
        return value
    }

    func number(
        _ node: Node, _ range: ClosedRange<Double>
    ) throws(ConfigurationError) -> Double {
        guard let value = node.string.flatMap({ Double($0) }), range.contains(value) else {
            throw error(
                node, "a number from \(range.lowerBound) to \(range.upperBound)", text(node))
        }
        return value
    }
}
