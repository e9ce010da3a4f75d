/* avr_meter.c -- cycles of functions, stack, bytes on the line: --count, --stats, --trace.
 *
 * A function starts when the program counter reaches its symbol and ends when the stack pointer
 * rises above where it was then: its return is counted, the call is not, interrupts in between are.
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "avr_sim.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FUNCTIONS = 256, MAX_DEPTH = 64 };

typedef struct {
    const char *name;
    uint32_t address;
    uint64_t calls, min, max, sum;
} function_t;

typedef struct {
    function_t *function;
    uint16_t sp;
    uint64_t cycle;
} call_t;

uint64_t instructions;
uint64_t bytes_rx, bytes_tx, overruns, eeprom_writes;
uint32_t board_baud;
uint8_t *marks;

static const elf_firmware_t *image;
static function_t functions[MAX_FUNCTIONS];
static int function_count;
static call_t calls[MAX_DEPTH];
static int depth;
static uint16_t sp_min;
static int half_written; /* instructions for which one half of SP may be old */
static uint16_t half;
static FILE *trace;

static uint32_t symbol(const char *name)
{
    for (uint32_t i = 0; i < image->symbolcount; i++) {
        if (strcmp(image->symbol[i]->symbol, name) == 0) {
            return image->symbol[i]->addr;
        }
    }
    return UINT32_MAX;
}

const char *meter_name(uint32_t address)
{
    const char *name = "?";

    for (uint32_t i = 0; i < image->symbolcount && image->symbol[i]->addr <= address; i++) {
        name = image->symbol[i]->symbol;
    }
    return name;
}

void meter_begin(const elf_firmware_t *firmware, const char *const *names, int count)
{
    image = firmware;
    marks = calloc(avr->flashend / 2 + 1, 1);
    if (symbol("bp_link_poll") <= avr->flashend) {
        marks[symbol("bp_link_poll") / 2] |= MARK_POLL;
    }
    sp_min = avr->ramend;
    if (count > MAX_FUNCTIONS) {
        refuse("at most %d functions can be counted", MAX_FUNCTIONS);
    }
    for (int i = 0; i < count; i++) {
        uint32_t address = symbol(names[i]);

        if (address > avr->flashend) {
            refuse("the image has no function %s: it may be inlined or left out", names[i]);
        }
        functions[function_count++] = (function_t){names[i], address, 0, UINT64_MAX, 0, 0};
        marks[address / 2] |= MARK_FUNCTION;
    }
}

void meter_trace(const char *path)
{
    trace = fopen(path, "w");
    if (!trace) {
        refuse("cannot write %s", path);
    }
    fputs("cycle,direction,byte\n", trace);
}

void meter_byte(uint64_t cycle, bool rx, uint8_t byte)
{
    *(rx ? &bytes_rx : &bytes_tx) += 1;
    if (trace) {
        fprintf(trace, "%llu,%s,%u\n", (unsigned long long)cycle, rx ? "rx" : "tx", byte);
    }
}

void meter_reset(void)
{
    depth = 0;
    half_written = 0;
}

static uint16_t stack_pointer(void)
{
    return (uint16_t)(avr->data[R_SPL] | avr->data[R_SPH] << 8);
}

void meter_enter(void)
{
    uint16_t sp = stack_pointer();

    for (int i = 0; i < function_count; i++) {
        call_t *top = depth ? &calls[depth - 1] : NULL;

        if (functions[i].address != avr->pc || depth == MAX_DEPTH) {
            continue;
        }
        /* A loop back to the first instruction is no call. */
        if (!top || top->function != &functions[i] || top->sp != sp) {
            calls[depth++] = (call_t){&functions[i], sp, avr->cycle};
        }
    }
}

static void leave(const call_t *call)
{
    function_t *function = call->function;
    uint64_t cycles = avr->cycle - call->cycle;

    function->calls++;
    function->sum += cycles;
    function->min = cycles < function->min ? cycles : function->min;
    function->max = cycles > function->max ? cycles : function->max;
}

void meter_instruction(uint16_t opcode)
{
    uint16_t written = opcode & 0xFE0Fu;
    uint16_t sp;

    instructions++;
    if (written == 0xBE0E || written == 0xBE0D) { /* out SPH, out SPL */
        half_written = half_written && written != half ? 0 : 5;
        half = written;
    } else if (half_written) {
        half_written--;
    }
    if (half_written) {
        return;
    }
    sp = stack_pointer();
    if (sp < sp_min) {
        sp_min = sp;
    }
    while (depth && sp > calls[depth - 1].sp) {
        leave(&calls[--depth]);
    }
}

void meter_write(const char *stats_path)
{
    uint32_t heap = (symbol("_end") & 0xFFFF);
    FILE *file;

    if (trace) {
        fclose(trace);
    }
    if (!stats_path) {
        return;
    }
    file = fopen(stats_path, "w");
    if (!file) {
        fprintf(stderr, "avr_sim: cannot write %s\n", stats_path);
        return;
    }
    fprintf(file, "{\"cycles\": %llu, \"instructions\": %llu, \"rx\": %llu, \"tx\": %llu,",
            (unsigned long long)avr->cycle, (unsigned long long)instructions,
            (unsigned long long)bytes_rx, (unsigned long long)bytes_tx);
    fprintf(file, " \"overruns\": %llu, \"stack_peak\": %d, \"ram_free_min\": %d,",
            (unsigned long long)overruns, avr->ramend - sp_min, (int)sp_min + 1 - (int)heap);
    fprintf(file, " \"eeprom_writes\": %llu, \"baud\": %u,\n \"functions\": {",
            (unsigned long long)eeprom_writes, board_baud);
    for (int i = 0; i < function_count; i++) {
        const function_t *f = &functions[i];

        fprintf(file, "%s\n  \"%s\": {\"calls\": %llu, \"min\": %llu, \"max\": %llu,", i ? "," : "",
                f->name, (unsigned long long)f->calls,
                (unsigned long long)(f->calls ? f->min : 0), (unsigned long long)f->max);
        fprintf(file, " \"mean\": %.2f}", f->calls ? (double)f->sum / (double)f->calls : 0.0);
    }
    fputs("}}\n", file);
    fclose(file);
}
