/* probe.c -- calls the functions of a port as a host asks: see Probe in test_qemu_boards.py.
 *
 * Each request begins with a letter; numbers are little-endian, 16 bits.
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

void counted(uint32_t n); /* 2 n + 1 instructions */
void jumping(uint32_t n); /* a jump to counted */

#if defined(__arm__)
__asm__(".syntax unified\n"
        ".section .text.counted, \"ax\"\n"
        ".thumb_func\n"
        ".global counted\n"
        ".type counted, %function\n"
        "counted: subs r0, r0, #1\n"
        "bne counted\n"
        "bx lr\n"
        ".size counted, . - counted\n"
        ".thumb_func\n"
        ".global jumping\n"
        ".type jumping, %function\n"
        "jumping: b counted\n"
        ".size jumping, . - jumping\n"
        ".text\n");
#elif defined(__riscv)
__asm__(".section .text.counted, \"ax\"\n"
        ".global counted\n"
        ".type counted, %function\n"
        "counted: addi a0, a0, -1\n"
        "bnez a0, counted\n"
        "ret\n"
        ".size counted, . - counted\n"
        ".global jumping\n"
        ".type jumping, %function\n"
        "jumping: j counted\n"
        ".size jumping, . - jumping\n"
        ".text\n");
#else
void counted(uint32_t n) { (void)n; }
void jumping(uint32_t n) { counted(n); }
#endif

static uint8_t get(void)
{
    int16_t byte;

    while ((byte = bp_port_read()) < 0) {
        bp_port_idle();
    }
    return (uint8_t)byte;
}

static uint16_t get16(void)
{
    uint16_t low = get();

    return (uint16_t)(low | get() << 8);
}

static void put(uint32_t value, uint8_t bytes)
{
    while (bytes-- > 0) {
        bp_port_write((uint8_t)value);
        value >>= 8;
    }
}

static void boot(uint8_t mark)
{
    uint8_t cause = 0;
    uint16_t boots = bp_port_reset(&cause);

    put(mark, 1);
    put(boots, 2);
    put(cause, 1);
}

int main(void)
{
    bp_port_begin();
    boot('B');
    for (;;) {
        switch (get()) {
        case 'b':
            boot('b');
            break;
        case 'e': { /* echo that many bytes */
            uint16_t n = get16();
            while (n-- > 0) {
                bp_port_write(get());
            }
            break;
        }
        case 'd': { /* be deaf until so many bytes are lost, echo the BP_LINK_WINDOW that are not */
            uint16_t n = get16(), i;
            while (bp_port_lost() < n) {
            }
            for (i = 0; i < BP_LINK_WINDOW; i++) {
                bp_port_write(get());
            }
            put(bp_port_lost(), 2);
            break;
        }
        case 'p': { /* be deaf for so many thousand rounds of a loop */
            volatile uint32_t rounds = 1000 * (uint32_t)get16();
            while (rounds != 0) {
                rounds--;
            }
            break;
        }
        case 'n':
            counted(get16());
            put('n', 1);
            break;
        case 'j':
            jumping(get16());
            put('j', 1);
            break;
#if BP_STORE_BYTES
        case 'w': {
            uint8_t unit[BP_STORE_UNIT], i;
            uint16_t address = get16();
            for (i = 0; i < BP_STORE_UNIT; i++) {
                unit[i] = get();
            }
            put((uint8_t)bp_port_store_write(address, unit), 1);
            break;
        }
        case 'r':
            put(bp_port_store_read(get16()), 1);
            break;
#if BP_STORE_ERASES
        case 'x':
            put((uint8_t)bp_port_store_erase(get()), 1);
            break;
#endif
#endif
        default:
            break;
        }
    }
}
