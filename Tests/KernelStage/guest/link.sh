# The receiver of the demo calibrated through the kernel, and compared with its calibration in one
# process, which the host has made; sourced by init.
kernel-stage-guest link </lib/stage/reference
