# Runs the virtual machine. Sourced by scripts/kernel-stage.

# Hardware acceleration is used by the interoperability run only, and only where it is the
# processor's own: /dev/kvm alone proves nothing, it may belong to a nested or paravirtual KVM that
# Debian's kernel cannot run on.
accelerator() {
    if [[ -w /dev/kvm && (-d /sys/module/kvm_intel || -d /sys/module/kvm_amd) ]]; then
        echo "-accel kvm -cpu host"
    else
        echo "-accel tcg -cpu max"
    fi
}

# run_vm LOG TIMEOUT INITRAMFS KERNEL-ARGUMENTS [QEMU-ARGUMENTS...]
#
# The serial console goes to LOG. Succeeds when the guest printed a verdict that says 'pass'; the
# exit status of QEMU says nothing about the guest.
run_vm() {
    local log=$1 limit=$2 initramfs=$3 append=$4 status=0
    shift 4
    timeout --kill-after=5 "$limit" qemu-system-x86_64 -M q35 -smp 1 \
        -nodefaults -no-user-config -no-reboot -display none -serial "file:$log" \
        -kernel "$kernel_dir/vmlinux" -initrd "$initramfs" \
        -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr $append" \
        "$@" </dev/null >"$log.qemu" 2>&1 || status=$?
    if ((status == 124)); then
        echo "kernel-stage: no end after $limit s; the last lines of the guest:" >&2
        tail -n 20 "$log" >&2
        return 1
    fi
    if ((status != 0)); then
        echo "kernel-stage: qemu-system-x86_64 ended with status $status:" >&2
        tail -n 5 "$log.qemu" >&2
        return 1
    fi
    if ! grep -aq '^KERNEL-STAGE VERDICT pass' "$log"; then
        grep -aE '^(FAIL|KERNEL-STAGE)|panic|Oops|BUG:' "$log" >&2
        echo "kernel-stage: the guest did not report a pass; its last lines:" >&2
        tail -n 15 "$log" >&2
        return 1
    fi
}
