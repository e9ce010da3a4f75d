#!/bin/sh
# Install what the tests need, or with `demo` what the demo needs, on Debian and Ubuntu; elsewhere name
# what is missing.
set -eu

missing=
need() { # need <command> <package>
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

need gcc gcc
need make make
need avr-gcc gcc-avr
# Libraries that bring no command of their own.
[ -e /usr/lib/avr/include/avr/io.h ] || missing="$missing avr-libc"
[ -e /usr/include/simavr/sim_avr.h ] || missing="$missing libsimavr-dev"
[ -e /usr/include/libelf.h ] || missing="$missing libelf-dev"

if [ "${1-}" != demo ]; then
    need g++ g++
    need clang clang
    need arm-none-eabi-gcc gcc-arm-none-eabi
    need riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf
    need cppcheck cppcheck
    need simavr simavr
    need qemu-system-arm qemu-system-arm
    need qemu-system-riscv32 qemu-system-misc
    need arduino-builder arduino-builder
    [ -e /usr/lib/arm-none-eabi/include/stdint.h ] || missing="$missing libnewlib-arm-none-eabi"
    ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.so >/dev/null 2>&1 ||
        missing="$missing libclang-rt-dev"
    [ -e /usr/share/arduino/hardware/arduino/avr/boards.txt ] || missing="$missing arduino-core-avr"
    [ -e /usr/lib/picolibc/riscv64-unknown-elf ] ||
        missing="$missing picolibc-riscv64-unknown-elf"
fi

[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "these Debian packages, or what your system calls them, are missing:$missing" >&2
    exit 2
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "run as root: apt-get install$missing" >&2
        exit 2
    fi
    as_root=sudo
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086 # one word per package
if ! { $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $missing; } \
    >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "could not install; by hand: sudo apt-get install$missing" >&2
    exit 2
fi
rm -f "$log"
