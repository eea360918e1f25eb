# The deterministic run: everything in the guest, sourced by init.
kernel-stage-guest gpio
