/* main.c -- a network that learns by itself from samples in flash, and prints how it goes.
 *
 * Each epoch is a line of text: its mean loss, taken before each sample's update, and how many
 * samples were right. All of it is in integers.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_samples.h"

/* What a sum over all samples is divided by for the mean loss. */
#define LOSS_ONE ((uint64_t)BP_SAMPLES << BP_SAMPLES_LOSS_FRAC)

static void write_text(const char *text)
{
    while (*text != '\0') {
        bp_port_write((uint8_t)*text++);
    }
}

static void write_number(uint32_t number)
{
    char text[11];
    char *p = text + sizeof text - 1;

    *p = '\0';
    do {
        *--p = (char)('0' + number % 10u);
        number /= 10u;
    } while (number != 0);
    write_text(p);
}

/* sum / LOSS_ONE with six decimals, cut off. */
static void write_loss(uint64_t sum)
{
    uint8_t i;

    write_number((uint32_t)(sum / LOSS_ONE));
    bp_port_write('.');
    for (i = 0; i < 6; i++) {
        sum = sum % LOSS_ONE * 10u;
        bp_port_write((uint8_t)('0' + sum / LOSS_ONE));
    }
}

static void write_crc32(uint32_t crc)
{
    uint8_t i;

    for (i = 0; i < 8; i++) {
        bp_port_write((uint8_t)"0123456789abcdef"[crc >> 28]);
        crc <<= 4;
    }
}

/* Put sample i into the network; t becomes its target. Returns its class, if it has one. */
static uint8_t take_sample(uint16_t i, int16_t *t)
{
    uint16_t j;
#if BP_SAMPLES_CLASSES
    uint8_t label = bp_rom_u8(bp_samples_class + i);

    for (j = 0; j < BP_NETWORK_N_OUT; j++) {
        t[j] = j == label ? BP_NETWORK_ONE : 0;
    }
#else
    uint8_t label = 0;

    for (j = 0; j < BP_NETWORK_N_OUT; j++) {
        t[j] = bp_rom_s16(bp_samples_t + (size_t)i * BP_NETWORK_N_OUT + j);
    }
#endif
    for (j = 0; j < BP_NETWORK_N_IN; j++) {
        bp_network_set_input(j, bp_rom_s16(bp_samples_a0 + (size_t)i * BP_NETWORK_N_IN + j));
    }
    return label;
}

static void learn_epoch(uint16_t epoch)
{
    int16_t t[BP_NETWORK_N_OUT];
    uint64_t sum = 0;
    uint16_t right = 0;
    uint16_t i;

    for (i = 0; i < BP_SAMPLES; i++) {
        uint8_t label = take_sample(i, t);

        bp_network_forward();
        if (bp_argmax(bp_network_outputs(), BP_NETWORK_N_OUT) == label) {
            right++;
        }
        sum += (uint64_t)bp_network_loss(t);
        bp_network_backward(t);
        bp_network_step();
#if BP_NETWORK_APPLIES
        if ((i + 1u) % BP_SAMPLES_IN_BATCH == 0 || i + 1u == BP_SAMPLES) {
            bp_network_apply();
        }
#endif
    }
    write_text("epoch ");
    write_number(epoch);
    write_text(" loss ");
    write_loss(sum);
    if (BP_SAMPLES_CLASSES) {
        write_text(" right ");
        write_number(right);
        write_text(" of ");
        write_number(BP_SAMPLES);
    }
    write_text("\r\n");
}

int main(void)
{
    uint16_t epoch;

    bp_port_begin();
    bp_network_reset();
    for (epoch = 1; epoch <= BP_EPOCHS; epoch++) {
        learn_epoch(epoch);
        bp_port_read(); /* some ports send only while they are asked for bytes */
    }
    write_text("weights ");
    write_crc32(bp_network_crc32());
    write_text("\r\n");
    for (;;) {
        bp_port_read();
        bp_port_idle();
    }
}
