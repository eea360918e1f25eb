/// A look at the text of a profile before it is given to the YAML parser.
///
/// Profiles use the plain part of YAML: mappings, sequences and scalars. Anchors and aliases can
/// make a small file expand without bound, deep nesting exhausts the stack of a recursive parser,
/// tags and directives change what a scalar means, and tabs look like indentation. All of them are
/// refused here, with their position, so that the parser never sees them. The screen also notes
/// where keys are, because the parser reports only the first of two equal keys.
struct ProfileScreen {
    /// The largest file that is read, in bytes.
    static let sizeMax = 256 * 1024
    /// The deepest nesting of brackets and the largest indentation in columns.
    static let flowDepthMax = 16
    static let indentationMax = 64

    /// No file that passes the screen is nested deeper.
    static let depthMax = flowDepthMax + indentationMax + 1

    struct Position: Hashable, Comparable {
        var line: Int
        var column: Int

        static func < (left: Self, right: Self) -> Bool {
            (left.line, left.column) < (right.line, right.column)
        }
    }

    /// A key or the dash of a sequence item.
    struct Mark {
        /// The text of the key without quotes; nil for a dash.
        let key: String?
        let position: Position
        /// The number of the innermost bracket around it, zero outside all brackets.
        let collection: Int
    }

    struct Refusal: Error {
        let position: Position
        let expected: String
        let found: String
    }

    private enum State {
        /// A value or key may start here.
        case start
        /// Inside a scalar without quotes.
        case plain
        /// Behind a quoted scalar or a closing bracket.
        case after
    }

    private(set) var marks: [Mark] = []
    private var scalars: [Unicode.Scalar]
    private var index = 0
    private var position = Position(line: 1, column: 1)
    /// The position behind the last character.
    var end: Position { position }
    private var state = State.start
    private var quote: Unicode.Scalar?
    private var collections: [Int] = []
    private var collectionCount = 0
    /// The start of the scalar that may turn out to be a key.
    private var candidate: (position: Position, index: Int)?
    /// Whether only spaces and dashes stand before the present character in this line.
    private var leading = true

    /// Screens a text. Throws a `Refusal` at the first construct that profiles do not use.
    init(_ text: String) throws(Refusal) {
        scalars = Array(text.unicodeScalars)
        while index < scalars.count { try step() }
    }

    private func refuse(_ expected: String, _ found: String) -> Refusal {
        Refusal(position: position, expected: expected, found: found)
    }

    private func blank(at offset: Int) -> Bool {
        guard index + offset < scalars.count else { return true }
        return scalars[index + offset] == " " || scalars[index + offset] == "\n"
            || scalars[index + offset] == "\r"
    }

    private mutating func advance() {
        index += 1
        position.column += 1
    }

    private mutating func step() throws(Refusal) {
        let scalar = scalars[index]
        if scalar == "\n" { return newLine() }
        if scalar == "\r", index + 1 < scalars.count, scalars[index + 1] == "\n" {
            return advance()
        }
        try checkPrintable(scalar)
        if let quote { return stepQuoted(scalar, quote) }
        if scalar == " " { return advance() }
        if scalar == "#", index == 0 || blank(at: -1) { return skipComment() }
        switch state {
        case .start: try stepStart(scalar)
        case .plain: try stepPlain(scalar)
        case .after: try stepAfter(scalar)
        }
    }

    private mutating func newLine() {
        index += 1
        position = Position(line: position.line + 1, column: 1)
        leading = true
        if quote == nil { state = .start }
    }

    private mutating func skipComment() {
        while index < scalars.count, scalars[index] != "\n" { advance() }
    }

    private func checkPrintable(_ scalar: Unicode.Scalar) throws(Refusal) {
        switch scalar.value {
        case 9: throw refuse("spaces", "a tab")
        case 0..<0x20, 0x7f..<0xa0, 0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff:
            let code = String(scalar.value, radix: 16)
            throw refuse("printable text", "the control character U+\(code)")
        default: break
        }
    }

    private mutating func stepQuoted(_ scalar: Unicode.Scalar, _ quote: Unicode.Scalar) {
        if quote == "\"", scalar == "\\", index + 1 < scalars.count, scalars[index + 1] != "\n" {
            advance()
        } else if scalar == quote {
            self.quote = nil
            state = .after
        }
        advance()
    }

    private mutating func stepStart(_ scalar: Unicode.Scalar) throws(Refusal) {
        if leading, position.column > Self.indentationMax {
            throw refuse("at most \(Self.indentationMax) columns of indentation", "more")
        }
        switch scalar {
        case "&": throw refuse("a value", "an anchor (`&`), which profiles do not use")
        case "*": throw refuse("a value", "an alias (`*`), which profiles do not use")
        case "!": throw refuse("a value", "a tag (`!`), which profiles do not use")
        case "|", ">": throw refuse("a value in one line", "a block scalar (`\(scalar)`)")
        case "%" where position.column == 1: throw refuse("a key", "a directive (`%`)")
        case "-" where isDocumentMark("---"), "." where isDocumentMark("..."):
            throw refuse("one document without marks", "the mark `\(scalar)\(scalar)\(scalar)`")
        case "?" where blank(at: 1) || !collections.isEmpty:
            throw refuse("a plain key", "a complex key (`?`)")
        case "-" where blank(at: 1) && collections.isEmpty:
            marks.append(Mark(key: nil, position: position, collection: 0))
            return advance()
        case "\"", "'":
            candidate = (position, index + 1)
            quote = scalar
        case "[", "{", "]", "}", ",": return try bracket(scalar)
        case ":" where blank(at: 1) || !collections.isEmpty: candidate = nil
        default:
            candidate = (position, index)
            state = .plain
        }
        leading = false
        advance()
    }

    private mutating func stepPlain(_ scalar: Unicode.Scalar) throws(Refusal) {
        let inFlow = !collections.isEmpty
        if scalar == ":", blank(at: 1) || (inFlow && nextIsFlowIndicator) { return noteKey() }
        if inFlow, "[]{},".unicodeScalars.contains(scalar) { return try bracket(scalar) }
        advance()
    }

    private mutating func stepAfter(_ scalar: Unicode.Scalar) throws(Refusal) {
        if scalar == ":" { return noteKey() }
        if "[]{},".unicodeScalars.contains(scalar) { return try bracket(scalar) }
        if scalar == "'" || scalar == "\"" {
            // A doubled single quote stands for one; the scalar goes on.
            quote = scalar
            return advance()
        }
        state = .start
    }

    /// Whether `mark` stands alone at the beginning of the line.
    private func isDocumentMark(_ mark: String) -> Bool {
        position.column == 1 && blank(at: 3) && index + 3 <= scalars.count
            && scalars[index..<(index + 3)].elementsEqual(mark.unicodeScalars)
    }

    private var nextIsFlowIndicator: Bool {
        index + 1 < scalars.count && "[]{},?".unicodeScalars.contains(scalars[index + 1])
    }

    private mutating func noteKey() {
        if let candidate {
            var text = String.UnicodeScalarView(scalars[candidate.index..<index])
            while let last = text.last, last == " " || last == "\"" || last == "'" {
                text.removeLast()
            }
            let mark = Mark(
                key: String(text), position: candidate.position,
                collection: collections.last ?? 0)
            marks.append(mark)
        }
        candidate = nil
        state = .start
        leading = false
        advance()
    }

    private mutating func bracket(_ scalar: Unicode.Scalar) throws(Refusal) {
        leading = false
        candidate = nil
        switch scalar {
        case "[", "{":
            guard collections.count < Self.flowDepthMax else {
                throw refuse("at most \(Self.flowDepthMax) nested brackets", "one more")
            }
            collectionCount += 1
            collections.append(collectionCount)
            state = .start
        case ",": state = .start
        default:
            _ = collections.popLast()
            state = .after
        }
        advance()
    }

    /// The second of two equal keys of one mapping, given the position of the first.
    func repetition(of first: Position) -> Position? {
        guard let start = marks.firstIndex(where: { $0.position == first && $0.key != nil }) else {
            return nil
        }
        let original = marks[start]
        for mark in marks[(start + 1)...] {
            if original.collection == 0, mark.collection == 0,
                mark.position.column < original.position.column
            {
                return nil
            }
            let sameMapping =
                mark.collection == original.collection
                && (original.collection != 0
                    || mark.position.column == original.position.column)
            if sameMapping, mark.key == original.key { return mark.position }
        }
        return nil
    }
}
