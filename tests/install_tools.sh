#!/bin/sh
# Install the compilers that the tests need, on Debian and Ubuntu; elsewhere name what is missing.
set -eu

missing=
need() { # need <command> <package>
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

need gcc gcc
need g++ g++
need clang clang
need avr-gcc gcc-avr
need arm-none-eabi-gcc gcc-arm-none-eabi
need riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf
need cppcheck cppcheck
need simavr simavr
# Libraries that bring no command of their own.
[ -e /usr/lib/avr/include/avr/io.h ] || missing="$missing avr-libc"
[ -e /usr/lib/arm-none-eabi/include/stdint.h ] || missing="$missing libnewlib-arm-none-eabi"
ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.so >/dev/null 2>&1 ||
    missing="$missing libclang-rt-dev"
[ -e /usr/lib/picolibc/riscv64-unknown-elf ] || missing="$missing picolibc-riscv64-unknown-elf"

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
