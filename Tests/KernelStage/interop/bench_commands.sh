# Our own commands attach the bench of the demo, without the usbip tool; sourced by the
# interoperability run. Five of its instruments are on USB: 1-1 the card, 1-2 the TDC1, 1-3 the paddle
# controller, 1-4 and 1-5 the detector modules.
bench=/tmp/bench.socket
# Ports in use, by the kernel's own list; 6 is VDEV_ST_USED.
attached_are() { test "$(awk '$3 == "006"' /sys/devices/platform/vhci_hcd.0/status | wc -l)" = "$1"; }
left() { ! ls /dev/ttyACM* /dev/ttyUSB* && attached_are 0; }

berek bench serve --usbip 3241 --control $bench >/tmp/bench.log 2>&1 &
bench_server=$!
wait_for "the bench of the demo is served" grep -q '^ready' /tmp/bench.log

own_attach() {
    berek bench attach --port 3241 >/tmp/attached && cat /tmp/attached &&
        test "$(grep -c 'at port' /tmp/attached)" = 5
}
check "berek bench attach" own_attach
wait_for "three CDC-ACM ports of the demo" test -e /dev/ttyACM2
wait_for "its FTDI port" test -e /dev/ttyUSB0
udevadm settle
own_list() {
    berek bench list --control $bench >/tmp/list && cat /tmp/list &&
        test "$(grep -c '127.0.0.1:3241' /tmp/list)" = 5 &&
        usbip port >/tmp/ports && test "$(grep -c 'Port in Use' /tmp/ports)" = 5 &&
        echo "5 attached, by the usbip tool too"
}
check "berek bench list" own_list
# Discovery and a question to the instrument behind the kernel's port.
own_use() {
    berek devices >/tmp/devices
    test "$(grep -c 'ready$' /tmp/devices)" = 5 || { cat /tmp/devices; return 1; }
    client bench_detector.py SPD-0001
}
check "berek devices, and a question by pyserial" own_use
own_detach() {
    berek bench detach 1-4 --port 3241 && wait_for "one has left" attached_are 4
}
check "berek bench detach, one" own_detach
# What the tool attached is in the same list.
own_detach_all() {
    usbip --tcp-port 3241 attach -r 127.0.0.1 -b 1-4 && wait_for "it is back" attached_are 5 &&
        berek bench detach --port 3241 >/tmp/detached && cat /tmp/detached &&
        test "$(grep -c 'left port' /tmp/detached)" = 5
}
check "usbip attach, berek bench detach" own_detach_all
wait_for "everything has left" left
check "berek bench stop" berek bench stop --control $bench
wait $bench_server

# The same without a network: the server itself hands the devices to the kernel.
berek bench serve --attach --control $bench >/tmp/bench.log 2>&1 &
bench_server=$!
wait_for "the bench attaches itself" attached_are 5
wait_for "three CDC-ACM ports of the bench" test -e /dev/ttyACM2
check "berek bench serve --attach" client bench_detector.py SPD-0002
# What is unplugged leaves the machine; plugged in again it comes back by itself.
own_plug() {
    berek bench unplug SPD-0001 --control $bench && wait_for "it leaves" attached_are 4 &&
        berek bench plug SPD-0001 --control $bench && wait_for "it comes back" attached_are 5
}
check "berek bench unplug, plug" own_plug
own_truth() { berek bench truth --control $bench >/tmp/truth && grep 'bench time' /tmp/truth; }
check "berek bench truth" own_truth
check "berek bench stop, attached" berek bench stop --control $bench
wait $bench_server
wait_for "the bench has left" left
