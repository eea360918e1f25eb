# Fetches Debian's stock kernel and makes what the virtual machine boots. Sourced by
# scripts/kernel-stage, which defines `phase`, `skip`, `stage` (this folder's parent) and `cache`.
#
# The folder of one kernel package, "$kernel_dir", holds when it is complete:
#   root/       the modules of root/lib/modules/RELEASE that the stage can use, with modules.dep
#   vmlinux     the kernel, unpacked: booted through its PVH entry
#   headers/    the header packages, unpacked
# and "$kernel_dir/gpio_emu-HASH.ko", the module built from the source that has that hash.

# The kernel that linux-image-amd64 stands for today, and its package version.
resolve_kernel() {
    release=$(apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: linux-image-\([0-9].*\)$/\1/p' | head -n 1)
    [[ -n "$release" ]] || skip "apt knows no linux-image-amd64 (Debian only; try 'apt-get update')"
    version=$(apt-cache show --no-all-versions "linux-image-$release" |
        sed -n 's/^Version: //p' | head -n 1)
    kernel_dir=$cache/$release-$version
}

# What the modules of the stage and of those they need are below; everything else stays packed.
kernel_paths=(
    './boot/vmlinuz*' '*/modules.*' '*/kernel/drivers/usb/*' '*/kernel/drivers/hid/*'
    '*/kernel/drivers/i2c/*' '*/kernel/drivers/virtio/*' '*/kernel/net/9p/*' '*/kernel/fs/9p/*'
    '*/kernel/fs/netfs/*' '*/kernel/fs/fscache/*' '*/kernel/lib/*'
)

download_kernel() {
    local packages=("linux-image-$release") name
    for name in $(apt-cache depends "linux-headers-$release" |
        sed -n 's/^ *Depends: \(linux-\(headers\|kbuild\)-.*\)$/\1/p'); do
        packages+=("$name")
    done
    packages+=("linux-headers-$release")
    mkdir -p "$work/debs"
    (cd "$work/debs" && apt-get download -q "${packages[@]}" >download.log 2>&1) || {
        tail -n 5 "$work/debs/download.log" >&2
        return 1
    }
}

unpack_kernel() {
    mkdir -p "$work/root"
    # tar complains about patterns that match nothing; what matters is looked at below.
    dpkg-deb --fsys-tarfile "$work/debs/linux-image-$release"_*.deb |
        tar -x -C "$work/root" --wildcards "${kernel_paths[@]}" 2>/dev/null || true
    [[ -f "$work/root/boot/vmlinuz-$release" ]] || return 1
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$work/root" "$release" 2>/dev/null
    [[ -s "$work/root/lib/modules/$release/modules.dep" ]]
}

unpack_headers() {
    local package
    for package in "$work"/debs/linux-headers-*.deb "$work"/debs/linux-kbuild-*.deb; do
        dpkg-deb -x "$package" "$work/headers" || return 1
    done
}

extract_vmlinux() {
    python3 "$stage/host/extract_vmlinux.py" "$work/root/boot/vmlinuz-$release" "$work/vmlinux"
}

# The makefile of the header package names its place after installation.
build_gpio_emu() {
    local tree=$kernel_dir/headers/usr/src/linux-headers-$release build
    sed -i "s#^include .*/usr/src/#include $kernel_dir/headers/usr/src/#" "$tree/Makefile"
    build=$(mktemp -d "$kernel_dir/module.XXXXXX")
    cp "$stage/gpio_emu/"{gpio_emu.c,Makefile} "$build/"
    # The compiler's minor version may differ from that of the kernel; the ABI does not.
    if ! make -s -C "$tree" M="$build" modules >"$build/make.log" 2>&1; then
        cat "$build/make.log" >&2
        return 1
    fi
    strip --strip-debug "$build/gpio_emu.ko"
    mv "$build/gpio_emu.ko" "$gpio_emu"
    rm -rf "$build"
}

prepare_kernel() {
    resolve_kernel
    if [[ ! -f "$kernel_dir/complete" ]]; then
        mkdir -p "$cache"
        work=$(mktemp -d "$cache/new.XXXXXX")
        phase "download $release" download_kernel
        phase "unpack the kernel" unpack_kernel
        phase "extract vmlinux" extract_vmlinux
        phase "unpack the headers" unpack_headers
        rm -rf "$work/debs" "$kernel_dir"
        touch "$work/complete"
        mv "$work" "$kernel_dir"
    fi
    gpio_emu=$kernel_dir/gpio_emu-$(sha256sum "$stage/gpio_emu/gpio_emu.c" | cut -c 1-12).ko
    [[ -f "$gpio_emu" ]] || phase "build gpio_emu.ko" build_gpio_emu
}
