import Quantities

/// Names in one section that must exist in another.

extension DeviceProfile {
    func checkReferences(_ sink: ErrorSink) {
        checkTransport(sink)
        checkBanner(sink)
        checkTime(sink)
        checkCommands(sink)
        checkSequences(sink)
        checkEmulation(sink)
    }

    private func checkTransport(_ sink: ErrorSink) {
        func need(_ section: String, _ present: Bool) {
            if !present {
                sink.report(
                    "identity.transport",
                    expected: "the section `\(section)` for this transport", found: "none")
            }
        }
        switch identity.transport {
        case .usbVendor: need("usb", usb != nil)
        case .usbFTDI, .usbCDCACM:
            need("usb", usb != nil)
            need("serial_port", serialPort != nil)
            let bridge: SerialBridge = identity.transport == .usbFTDI ? .ftdi : .cdcACM
            if let serialPort, serialPort.bridge != bridge {
                sink.report(
                    "serial_port.bridge",
                    expected: "\(bridge.rawValue), as `identity.transport` says",
                    found: serialPort.bridge.rawValue)
            }
        case .usbTMC, .usbHID: need("usb", usb != nil)
        case .serialLine:
            need("serial_port", serialPort != nil)
            if let serialPort, serialPort.bridge != .any {
                sink.report(
                    "serial_port.bridge",
                    expected: "\(SerialBridge.any.rawValue), as `identity.transport` says",
                    found: serialPort.bridge.rawValue)
            }
        case .gpio: need("topology.lines", !lines.isEmpty)
        }
        if firmware.grammar == .identificationFields,
            identification?.fields["firmware_major"] == nil
        {
            sink.report(
                "firmware.grammar", expected: "the field `firmware_major` under `identification`",
                found: "none")
        }
    }

    /// A version in a banner needs a line that carries it, and a port to print it on.
    private func checkBanner(_ sink: ErrorSink) {
        guard firmware.grammar == .banner else { return }
        if dialect?.lines["version"]?.after == nil {
            sink.report(
                "firmware.grammar",
                expected: "the line `version` with a place for it under `dialect.lines`",
                found: "none")
        }
    }

    private func checkTime(_ sink: ErrorSink) {
        func needField(_ name: String, _ path: String) {
            if record?.fields[name] == nil {
                sink.report(
                    path, expected: "the name of one of `record.fields`", found: "\"\(name)\"")
            }
        }
        if let interpolation = timeBase?.interpolation {
            needField(interpolation.field, "time_base.interpolation.field")
        }
        if let lag = timeBase?.lagCorrection {
            needField(lag.field, "time_base.lag_correction.field")
        }
        if identity.kind == .timeTagger,
            timeBase == nil || (record == nil) == (textRecord == nil)
        {
            sink.report(
                "identity.kind",
                expected: "the section `time_base` and one of `record` and `text_record`",
                found: "something else")
        }
        if let name = textRecord?.decimalsLine, dialect?.lines[name]?.after == nil {
            sink.report(
                "text_record.decimals_line",
                expected: "the name of one of `dialect.lines` with a place for a value",
                found: "\"\(name)\"")
        }
        checkWeights(sink)
        if let timeBase, let period = timeBase.rolloverPeriod, timeBase.rollover == .msbFalling,
            let dummy = timeBase.maxDummyIntervalMilliseconds,
            dummy * 1e9 >= Double(period.rawValue)
        {
            sink.report(
                "time_base.max_dummy_interval_ms",
                expected: "less than the rollover period (\(Double(period.rawValue) / 1e9) ms)",
                found: ValueReader.show(dummy))
        }
    }

    /// The parts of the time in a record lie side by side, up to the width of the counter.
    private func checkWeights(_ sink: ErrorSink) {
        guard let timeBase, let record else { return }
        var end = Double(1)
        for (name, field) in record.fields.entries {
            guard let ticks = field.ticks else { continue }
            end = Swift.max(
                end, Double(ticks) * Double(sign: .plus, exponent: field.width, significand: 1))
            if ticks & (ticks - 1) != 0 {
                sink.report(
                    "record.fields.\(name).ticks", expected: "a power of two", found: "\(ticks)")
            }
        }
        let counter = Double(sign: .plus, exponent: timeBase.counterBits, significand: 1)
        if end != counter {
            sink.report(
                "time_base.counter_bits",
                expected: "the width of the time in `record.fields` (\(end.exponent) bits)",
                found: "\(timeBase.counterBits)")
        }
    }

    private func checkCommands(_ sink: ErrorSink) {
        func needCommand(_ name: String?, _ path: String) {
            if let name, dialect?.commands[name] == nil {
                sink.report(path, expected: "the name of a command", found: "\"\(name)\"")
            }
        }
        needCommand(identification?.command, "identification.command")
        needCommand(record?.flush.command, "record.flush.command")
        checkIdentificationFields(sink)
    }

    /// The fields of the identification lie within the reply, where its length is known.
    private func checkIdentificationFields(_ sink: ErrorSink) {
        guard let identification, let reply = dialect?.commands[identification.command]?.reply,
            let length = reply.bytes ?? reply.message.flatMap({ dialect?.messages[$0]?.dataBytes })
        else { return }
        for (name, field) in identification.fields.entries
        where field.offset + field.bytes > length {
            sink.report(
                "identification.fields.\(name)", expected: "a field within the \(length) bytes",
                found: "bytes \(field.offset) to \(field.offset + field.bytes - 1)")
        }
    }

    private func checkSequences(_ sink: ErrorSink) {
        for (name, steps) in sequences.entries {
            for (index, step) in steps.enumerated() {
                let path = "sequences.\(name).\(index)"
                switch step {
                case .command(let command, let values):
                    checkStep(command, values, path, sink)
                case .line(let role, _):
                    if lines.first(where: { $0.role == role })?.direction != .output {
                        sink.report(
                            "\(path).line", expected: "the role of an output line",
                            found: "\"\(role)\"")
                    }
                case .wait, .startReading, .stopReading: break
                }
            }
        }
        if lines.contains(where: { $0.trips || $0.permits }), sequences["safe"] == nil {
            sink.report(
                "sequences", expected: "the sequence `safe` for the lines that force it",
                found: "none")
        }
    }

    private func checkStep(
        _ name: String, _ values: [Double], _ path: String, _ sink: ErrorSink
    ) {
        guard let command = dialect?.commands[name] else {
            sink.report(
                "\(path).command", expected: "the name of a command", found: "\"\(name)\"")
            return
        }
        guard values.count == command.arguments.count else {
            sink.report(
                values.isEmpty ? "\(path).command" : "\(path).values",
                expected: "\(command.arguments.count) values for `\(name)`",
                found: "\(values.count)")
            return
        }
        for (index, (value, entry)) in zip(values, command.arguments.entries).enumerated()
        where !(entry.value.min...entry.value.max).contains(value) {
            sink.report(
                "\(path).values.\(index)",
                expected: "`\(entry.name)` from \(ValueReader.show(entry.value.min)) to "
                    + ValueReader.show(entry.value.max),
                found: ValueReader.show(value))
        }
    }

    private func checkEmulation(_ sink: ErrorSink) {
        guard let emulation else { return }
        let shown: [(String?, TextPattern?, String)] = [
            (emulation.manufacturer, usb?.manufacturer, "manufacturer"),
            (emulation.product, usb?.product, "product"),
            (emulation.serial, usb?.serial, "serial"),
            (emulation.identityReply, identification?.expect, "identity_reply"),
        ]
        // Real numbers need no substitute; a second value would only be confusing.
        let numbers = [
            ("vendor_id", usb?.vendorID, emulation.vendorID),
            ("product_id", usb?.productID, emulation.productID),
        ]
        for case (let key, let real?, let substitute?) in numbers {
            sink.report(
                "emulation.\(key)", expected: "no substitute for `usb.\(key)` (\(real))",
                found: "\(substitute)")
        }
        if let release = emulation.deviceRelease, usb?.deviceRelease?.contains(release) == false {
            sink.report(
                "emulation.device_release", expected: "a value within `usb.device_release`",
                found: "0x" + String(release, radix: 16))
        }
        if let version = emulation.firmware, !firmware.contains(version) {
            sink.report(
                "emulation.firmware", expected: "a version within `firmware`", found: "\(version)")
        }
        for case (let text?, let pattern?, let key) in shown where !pattern.matches(text) {
            sink.report(
                "emulation.\(key)", expected: "text that fits \"\(pattern)\"",
                found: "\"\(text)\"")
        }
    }
}
