/// Reading the sections that say which device this is.

extension DeviceIdentity {
    init(_ reader: SectionReader) {
        id = reader.text("id", max: 48)
        vendor = reader.text("vendor")
        model = reader.text("model")
        kind = reader.choice("kind", default: .timeTagger)
        transport = reader.choice("transport", default: .gpio)
        let isPlain = id.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 || $0 == 45 }
        if !isPlain {
            reader.sink.report(
                reader.join("id"), expected: "lower-case letters, digits and dashes",
                found: "\"\(id)\"")
        }
    }
}

extension USBIdentity {
    init(_ reader: SectionReader) {
        vendorID = reader.optionalWord("vendor_id")
        productID = reader.optionalWord("product_id")
        deviceRelease =
            reader.optionalSection("device_release") { range in
                let low = range.word("min")
                let high = range.word("max")
                if low > high {
                    range.sink.report(
                        range.join("max"), expected: "at least `min` (\(low))", found: "\(high)")
                }
                return low...max(low, high)
            }
        usbRelease = reader.optionalWord("usb_release")
        deviceClass = reader.optionalSection("device_class", USBClass.init)
        interfaceClass = reader.optionalSection("interface_class", USBClass.init)
        configuration = reader.optionalSection("configuration") {
            USBConfiguration(
                value: $0.byte("value"), attributes: $0.byte("attributes"),
                maxPowerMilliamperes: $0.integer("max_power_ma", 0...510))
        }
        interface = reader.integer("interface", 0...31)
        alternateSetting = reader.integer("alternate_setting", 0...31)
        endpoints = reader.sectionTable("endpoints", Endpoint.init)
        manufacturer = reader.optional("manufacturer")?.pattern()
        product = reader.optional("product")?.pattern()
        serial = reader.optional("serial")?.pattern()
        match = reader.optionalChoices("match", USBMatchField.self)
        isGeneric = reader.flag("generic", default: false)
        check(reader)
    }

    private func check(_ reader: SectionReader) {
        if match.isEmpty {
            reader.sink.report(
                reader.join("match"), expected: "at least one property to recognise the device by",
                found: "none")
        }
        for (index, field) in match.enumerated() {
            if !reader.has(field.rawValue) {
                reader.sink.report(
                    reader.join("match.\(index)"), expected: "a property this section states",
                    found: "`\(field.rawValue)`, which it does not")
            }
            if match[..<index].contains(field) {
                reader.sink.report(
                    reader.join("match.\(index)"), expected: "each property once",
                    found: "`\(field.rawValue)` again")
            }
        }
        for (index, entry) in endpoints.entries.enumerated()
        where endpoints.entries[..<index].contains(where: {
            $0.value.address == entry.value.address
        }) {
            reader.sink.report(
                reader.join("endpoints.\(entry.name).address"), expected: "an unused address",
                found: "the address of another endpoint")
        }
    }
}

extension USBClass {
    init(_ reader: SectionReader) {
        code = reader.byte("code")
        subclass = reader.byte("subclass")
        protocolCode = reader.byte("protocol")
    }
}

extension Endpoint {
    init(_ reader: SectionReader) {
        address = reader.byte("address")
        type = reader.choice("type", default: .bulk)
        maxPacketFullSpeed = reader.integer("max_packet_full_speed", 1...64)
        maxPacketHighSpeed = reader.optionalInteger("max_packet_high_speed", 1...1024)
        if address & 0x70 != 0 || address & 0x0f == 0 {
            reader.sink.report(
                reader.join("address"), expected: "1 to 15, plus 0x80 towards the host",
                found: "0x" + String(address, radix: 16))
        }
    }
}

extension ColdBoot {
    init(_ reader: SectionReader) {
        vendorID = reader.word("vendor_id")
        productID = reader.word("product_id")
        loadRequest = reader.byte("load_request")
        controlRegister = reader.word("control_register")
        memory = reader.sections("memory", 0...16) { range in
            let earlierErrors = range.sink.errors.count
            let first = range.word("first")
            let last = range.word("last")
            // A bound that is missing has been reported; comparing with it would only be noise.
            if last < first, range.sink.errors.count == earlierErrors {
                range.sink.report(
                    range.join("last"), expected: "at least `first` (\(first))", found: "\(last)")
            }
            return first...max(first, last)
        }
        for (index, range) in memory.enumerated().dropFirst()
        where range.lowerBound <= memory[index - 1].upperBound {
            reader.sink.report(
                reader.join("memory.\(index).first"),
                expected: "more than the `last` before (\(memory[index - 1].upperBound))",
                found: "\(range.lowerBound)")
        }
    }
}

extension SerialPortSettings {
    init(_ reader: SectionReader) {
        bridge = reader.choice("bridge", default: .ftdi)
        baud = reader.integer("baud", 300...12_000_000)
        dataBits = reader.integer("data_bits", 5...8)
        parity = reader.choice("parity", default: .none)
        stopBits = reader.integer("stop_bits", 1...2)
        flowControl = reader.choice("flow_control", default: .none)
        latencyTimerMilliseconds = reader.optionalInteger("latency_timer_ms", 1...255)
    }
}

extension Identification {
    init(_ reader: SectionReader) {
        command = reader.text("command", max: 48)
        expect = reader.optional("expect")?.pattern()
        fields = reader.sectionTable("fields", DataField.init)
        if expect == nil && fields.isEmpty {
            reader.sink.report(
                reader.path, at: reader.position, expected: "`expect` or `fields`",
                found: "neither")
        }
    }
}

extension DataField {
    init(_ reader: SectionReader) {
        offset = reader.integer("offset", 0...4095)
        encoding = reader.choice("encoding", default: .u8)
        if let fixed = encoding.fixedBytes ?? encoding.hexDigits {
            bytes = fixed
        } else {
            bytes = reader.integer("bytes", 1...256)
        }
    }
}

extension FirmwareRange {
    init(_ reader: SectionReader) {
        grammar = reader.choice("grammar", default: .none)
        from = reader.optional("from")?.version()
        through = reader.optional("through")?.version()
        knownBad =
            reader.sections("known_bad", 0...64) { item in
                (item.required("version")?.version(), item.text("reason"))
            }.compactMap { version, reason in version.map { ($0, reason) } }
        if let from, let through, through < from {
            reader.sink.report(
                reader.join("through"), expected: "at least `from` (\(from))", found: "\(through)")
        }
        if grammar == .none, from != nil || through != nil {
            reader.sink.report(
                reader.join("grammar"), expected: "a way to find the version that is limited",
                found: "none")
        }
    }
}

extension EmulationIdentity {
    init(_ reader: SectionReader) {
        vendorID = reader.optionalWord("vendor_id")
        productID = reader.optionalWord("product_id")
        deviceRelease = reader.optionalWord("device_release")
        manufacturer = reader.optionalText("manufacturer", max: 126)
        product = reader.optionalText("product", max: 126)
        serial = reader.optionalText("serial", max: 126)
        identityReply = reader.optionalText("identity_reply")
        firmware = reader.optional("firmware")?.version()
    }
}
