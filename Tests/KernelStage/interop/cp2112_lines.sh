# The tools of libgpiod on the chip that hid-cp2112 makes of the emulated CP2112; sourced by the
# interoperability run. The bench pulls line 2 up and holds lines 0 and 1 low; nothing drives them.
cp2112=$(gpiodetect | sed -n 's/^\(gpiochip[0-9]*\) \[cp2112_gpio\] (8 lines)$/\1/p')
cp2112_found() { test -n "$cp2112" && echo "$cp2112"; }
cp2112_info() { test "$(gpioinfo "$cp2112" | grep -c 'line ')" = 8 && echo 8 lines; }
cp2112_inputs() { levels=$(gpioget "$cp2112" 0 1 2) && echo "$levels" && test "$levels" = "0 0 1"; }
# While a line is held the kernel shows it as an output; then it can be read again.
cp2112_output() {
    gpioset --mode=time --usec=300000 "$cp2112" 0=1 &
    usleep 150000
    gpioinfo "$cp2112" | grep 'line *0:' >/tmp/held
    wait $! || return 1
    grep -q 'gpioset.*output' /tmp/held || { cat /tmp/held; return 1; }
    levels=$(gpioget "$cp2112" 0 2) && echo "held, then $levels" && test "$levels" = "0 1"
}
# No device answers on its bus: the kernel's driver must say so and not hang.
cp2112_bus() { ls -d /sys/bus/hid/drivers/cp2112/*:10C4:EA90.*/i2c-* && dmesg | grep 'Part Number: 0x0C Device Version: 0x02'; }
check "hid-cp2112: chip" cp2112_found
check "hid-cp2112: gpioinfo" cp2112_info
check "hid-cp2112: gpioget" cp2112_inputs
check "hid-cp2112: gpioset" cp2112_output
check "hid-cp2112: i2c adapter and version" cp2112_bus
