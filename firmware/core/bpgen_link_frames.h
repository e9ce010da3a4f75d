/* bpgen_link_frames.h -- the frames on the line: COBS and CRC-32 (docs/protocol.md).
 *
 * bpgen_link.c alone includes this. COBS puts into the place of each zero how far away the next one
 * is, the first code being in front of the frame and the last one telling its end. So a frame is
 * decoded and coded where it stands.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LINK_FRAMES_H
#define BPGEN_LINK_FRAMES_H

/* The CRC-32, not inverted, of the frame's first n bytes. */
static APART uint32_t frame_crc(const link_t *s, uint8_t n)
{
    return bp_crc32(0xFFFFFFFFu, FRAME, n);
}

/* Take in one byte of the line. Returns the size of the frame that it completes, or 0. */
static uint8_t receive(link_t *s, uint8_t byte)
{
    place_t n = s->received;
    place_t left = n;
    uint8_t *p = CODED;
    uint16_t bad;

    if (byte != 0) {
        if (n != MOST_CODED) {
            p[n] = byte;
            s->received++;
        }
        return 0;
    }
    s->received = 0;
    if (n == 0) {
        return 0;
    }
    if (n > BP_OVERHEAD && n != MOST_CODED) {
        do {
            byte = *p;
            *p = 0;
            if (byte > left) {
                break;
            }
            p += byte;
            left = (place_t)(left - byte);
        } while (left != 0);
        n--;
        /* The frame ends with the CRC of what is in front of it. */
        if (left == 0 && frame_crc(s, (uint8_t)n) == 0xDEBB20E3u) {
            return (uint8_t)n;
        }
    }
    bad = (uint16_t)(s->bad + 1u);
    if (bad != 0) {
        s->bad = bad;
    }
    return 0;
}

/* Send the frame whose payload ends at `end`. */
static void send(link_t *s, uint8_t *end)
{
    uint8_t n = (uint8_t)(end - FRAME);
    uint8_t code = 1;
    uint8_t *p;

    end = put32(end, ~frame_crc(s, n));
    n = (uint8_t)(n + 5u);
    *end = 0;
    p = end;
    do {
        p--;
        if (*p == 0) {
            *p = code;
            code = 0;
        }
        code++;
    } while (--n != 0);
    bp_port_write(0);
    do {
        bp_port_write(*p);
    } while (p++ != end);
}

#endif
