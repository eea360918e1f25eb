# The interoperability run: other people's programs on the emulated bench; sourced by init.
. /lib/stage/lib.sh
export PYTHONHOME=/usr/lib/python PYTHONPATH=/lib/stage/interop PYTHONHASHSEED=0
export PYTHONDONTWRITEBYTECODE=1

# How ctypes finds libusb.
ldconfig

client() { python3 "/lib/stage/interop/$1" $2; }
bus_ids="1-1 1-2 1-3 1-4 1-5 1-6 1-7 1-8 1-9 1-10 1-11 1-12 1-13 1-14 1-15"

kernel-stage-guest serve-network >/tmp/server.log 2>&1 &
server=$!
wait_for "the bench is served" grep -q serving /tmp/server.log

# The stock tool of the kernel attaches the devices over TCP.
list_devices() {
    usbip list -r 127.0.0.1 >/tmp/list && for id in $bus_ids; do grep "$id:" /tmp/list || return 1; done
}
attach_all() { for id in $bus_ids; do usbip attach -r 127.0.0.1 -b $id || return 1; done; }
check "usbip list" list_devices
check "usbip attach" attach_all
wait_for "five FTDI ports" test -e /dev/ttyUSB4
wait_for "four CDC-ACM ports" test -e /dev/ttyACM3
wait_for "two USBTMC instruments" test -e /dev/usbtmc1
udevadm settle
ports_in_use() { usbip port >/tmp/ports && test "$(grep -c 'Port in Use' /tmp/ports)" = 15 && echo 15 ports in use; }
check "usbip port" ports_in_use
by_id() { ls /dev/serial/by-id | tr '\n' ' ' && test "$(ls /dev/serial/by-id | wc -l)" = 9; }
check "udev names of the ports" by_id
tdc1=$(readlink -f /dev/serial/by-id/*TDC1-0019*)

check "pyserial" client serial_ports.py
check "pyusb" client usb_card.py
check "PyVISA-py" client visa_serial.py "$tdc1"
check "S15lib" client s15lib_search.py
check "pyftdi" client ftdi_paddles.py
check "thorlabs-elliptec" client elliptec_mounts.py

# USBTMC: first with the kernel's driver, then with clients that take the device away from it.
power_meter() { grep -l 8078 /sys/class/usbmisc/usbtmc*/device/../idProduct | cut -d / -f 5; }
check "usbtmc, ThorlabsPM100" client usbtmc_node.py "/dev/$(power_meter)"
check "python-usbtmc" client usbtmc_power.py
check "PyVISA-py, USB" client visa_usbtmc.py

check "LabJackPython" client labjack_u3.py
. /lib/stage/interop/cp2112_lines.sh

# The chip leaves the bus to come back with its firmware; for USB/IP that is another import.
cold=1-10
import_again() {
    local tries=0
    until usbip attach -r 127.0.0.1 -b $cold; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || return 1
        usleep 200000
    done
}
firmware() {
    import_again >/tmp/import.log 2>&1 &
    client fx2_firmware.py && return
    cat /tmp/import.log
    return 1
}
check "fxload" firmware

# The tools of libgpiod, on the lines of the gated detectors.
gpio_detect() { gpiodetect | grep gpio-emu; }
gpio_info() { gpioinfo gpio-emu | grep -c line; }
# Shutter of the second detector: the end switches follow the command.
gpio_shutter() {
    test "$(gpioget gpio-emu 13)" = 1 || return 1
    gpioset --mode=time --usec=300000 gpio-emu 12=1 &
    usleep 200000
    open=$(gpioget gpio-emu 13 14)
    wait $!
    echo "closed, open: $open"
    test "$open" = "0 1"
}
gpio_edges() {
    gpiomon --num-events=4 gpio-emu 15 >/tmp/edges && tail -n 1 /tmp/edges &&
        test "$(grep -c RISING /tmp/edges)" = 2
}
check "gpiodetect" gpio_detect
check "gpioinfo" gpio_info
check "gpioset, gpioget: shutter" gpio_shutter
check "gpiomon: pulse per second" gpio_edges

# Our own program sees what it would see of the real instruments.
# The kernel has the CP2112, and nobody has declared the board of the TICC.
our_list() {
    berek devices >/tmp/devices
    test $? = 4 && cat /tmp/devices && test "$(grep -c 'ready$' /tmp/devices)" = 9 && echo 9 ready
}
check "berek devices" our_list
no_permission() {
    /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups berek devices >/tmp/devices
    test $? = 4 && cat /tmp/devices && test "$(grep -c 'no permission to open /dev/bus/usb' /tmp/devices)" = 10
}
check "berek devices without permission" no_permission

detach_all() { for port in 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14; do usbip detach -p $port || return 1; done; }
check "usbip detach" detach_all
wait_for "no serial port left" sh -c '! ls /dev/ttyACM* /dev/ttyUSB*'
kill $server

. /lib/stage/interop/bench_commands.sh
if [ $checks_failed != 0 ]; then
    echo "the servers said:"
    cat /tmp/server.log /tmp/bench.log
    dmesg | tail -n 20
fi

echo "checks failed: $checks_failed"
[ $checks_failed = 0 ]
