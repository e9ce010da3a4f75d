/* bpgen_port.cpp -- Arduino boards with an AVR: Serial and the EEPROM.
 *
 * Serial keeps 63 received bytes while the network computes, and loses what is beyond without
 * telling.
 * SPDX-License-Identifier: 0BSD
 */
#include <Arduino.h>
#include <avr/eeprom.h>

#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

/* Outlives a reset, as nothing clears it; the complement tells it from what RAM wakes up with. */
static uint16_t boots __attribute__((section(".noinit")));
static uint16_t boots_complement __attribute__((section(".noinit")));

void bp_port_begin(void)
{
    if (boots != (uint16_t)~boots_complement) {
        boots = 0;
    }
    boots++;
    boots_complement = (uint16_t)~boots;
    Serial.begin(BP_PORT_BAUD);
}

int16_t bp_port_read(void)
{
    return (int16_t)Serial.read();
}

void bp_port_write(uint8_t byte)
{
    Serial.write(byte);
}

void bp_port_idle(void)
{
}

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = BP_RESET_UNKNOWN; /* the boot loader has cleared it */
    return boots;
}

uint16_t bp_port_lost(void)
{
    return 0;
}

#if BP_STORE_BYTES
uint8_t bp_port_store_read(uint16_t address)
{
    return eeprom_read_byte(reinterpret_cast<const uint8_t *>(address));
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    if (!eeprom_is_ready()) {
        return 1;
    }
    eeprom_update_byte(reinterpret_cast<uint8_t *>(address), *unit);
    return 0;
}
#endif
