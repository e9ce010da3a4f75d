/* primitives.c -- the core's functions over whole arrays, for test_primitives.py. */
#include "bpgen_unit.h"

void each_round32(int32_t *y, const int32_t *x, uint8_t shift, size_t n);
void each_round64(int64_t *y, const int64_t *x, uint8_t shift, size_t n);
void each_clamp(int16_t *y, const int32_t *x, int16_t top, uint32_t *clipped, size_t n);
void each_clamp24(int32_t *y, const int32_t *x, uint32_t *clipped, size_t n);
void each_clamp24_wide(int32_t *y, const int64_t *x, uint32_t *clipped, size_t n);
void each_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n);
void each_rescale(int16_t *u, const int16_t *a, uint8_t from_frac, uint8_t to_frac, size_t n);
void each_sigmoid(int16_t *a, const int16_t *z, const uint16_t *table, uint8_t bits, uint8_t frac,
                  size_t n);
void each_tanh(int16_t *a, const int16_t *z, const uint16_t *table, uint8_t bits, uint8_t frac,
               size_t n);
void each_tanh_opt(int16_t *a, const int16_t *z, const uint16_t *table, uint8_t bits, uint8_t frac,
                   size_t n);
void each_sigmoid_derivative(int32_t *d, const int16_t *a, uint8_t frac, size_t n);
void each_tanh_derivative(int32_t *d, const int16_t *a, uint8_t frac, size_t n);
void each_tanh_opt_derivative(int32_t *d, const int16_t *a, int16_t top, uint8_t frac, size_t n);
void each_is_mantissa(uint8_t *is, const uint16_t *mantissa, size_t n);
void each_pair_softmax(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t z_frac,
                       uint8_t frac, size_t n);
void each_loss(int64_t *loss, const int16_t *a, const uint16_t *table, uint8_t frac, size_t n);

#define EACH                                                                                       \
    size_t i;                                                                                      \
    for (i = 0; i < n; i++)

void each_round32(int32_t *y, const int32_t *x, uint8_t shift, size_t n)
{
    EACH { y[i] = bp_round32(x[i], shift); }
}

void each_round64(int64_t *y, const int64_t *x, uint8_t shift, size_t n)
{
    EACH { y[i] = bp_round64(x[i], shift); }
}

void each_clamp(int16_t *y, const int32_t *x, int16_t top, uint32_t *clipped, size_t n)
{
    EACH { y[i] = bp_clamp(x[i], top, clipped); }
}

void each_clamp24(int32_t *y, const int32_t *x, uint32_t *clipped, size_t n)
{
    EACH { y[i] = bp_clamp24(x[i], clipped); }
}

void each_clamp24_wide(int32_t *y, const int64_t *x, uint32_t *clipped, size_t n)
{
    EACH { y[i] = bp_clamp24_wide(x[i], clipped); }
}

void each_descent(int16_t *g, const int16_t *dz, uint16_t mantissa, size_t n)
{
    bp_descent(g, dz, mantissa, n);
}

void each_rescale(int16_t *u, const int16_t *a, uint8_t from_frac, uint8_t to_frac, size_t n)
{
    EACH { u[i] = rescale(a[i], from_frac, to_frac); }
}

void each_sigmoid(int16_t *a, const int16_t *z, const uint16_t *table, uint8_t bits, uint8_t frac,
                  size_t n)
{
    EACH { a[i] = z[i]; }
    bp_sigmoid(a, table, bits, frac, n);
}

void each_tanh(int16_t *a, const int16_t *z, const uint16_t *table, uint8_t bits, uint8_t frac,
               size_t n)
{
    EACH { a[i] = z[i]; }
    bp_tanh(a, table, bits, frac, n);
}

void each_tanh_opt(int16_t *a, const int16_t *z, const uint16_t *table, uint8_t bits, uint8_t frac,
                   size_t n)
{
    EACH { a[i] = z[i]; }
    bp_tanh_opt(a, table, bits, frac, n);
}

void each_sigmoid_derivative(int32_t *d, const int16_t *a, uint8_t frac, size_t n)
{
    EACH { d[i] = bp_sigmoid_derivative(a[i], frac); }
}

void each_tanh_derivative(int32_t *d, const int16_t *a, uint8_t frac, size_t n)
{
    EACH { d[i] = bp_tanh_derivative(a[i], frac); }
}

void each_tanh_opt_derivative(int32_t *d, const int16_t *a, int16_t top, uint8_t frac, size_t n)
{
    EACH { d[i] = bp_tanh_opt_derivative(a[i], top, frac); }
}

void each_is_mantissa(uint8_t *is, const uint16_t *mantissa, size_t n)
{
    EACH { is[i] = (uint8_t)bp_is_mantissa(mantissa[i]); }
}

/* a is [n][2], logits before and outputs after. */
void each_pair_softmax(int16_t *a, const uint16_t *table, uint8_t bits, uint8_t z_frac,
                       uint8_t frac, size_t n)
{
    EACH { bp_softmax(a + 2 * i, table, bits, z_frac, frac, 2); }
}

/* The cross-entropy of one softmax output with the target 1. */
void each_loss(int64_t *loss, const int16_t *a, const uint16_t *table, uint8_t frac, size_t n)
{
    static const int16_t one_raw = 1;

    EACH { loss[i] = bp_cross_entropy_softmax(a + i, &one_raw, table, frac, 1); }
}
