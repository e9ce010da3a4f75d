/* peer_fann.c -- FANN on the samples of a file: online training in float, inference in float or,
 * compiled with -DFIXEDFANN, in FANN's fixed point.
 *
 *     peer_fann SAMPLES NET RUNS STEPS
 *
 * SAMPLES is binary: three sizes, the number of samples and the learning rate as float, then w1
 * and w2 (row-major, biases are 0), inputs and one-hot targets as float. The float program trains
 * and writes NET for the fixed one, which reads it. Prints lines of a word and a number: samples a
 * second of each run, and the share of samples that are classified right. Batch 1, no momentum,
 * half squared error, sigmoid in both layers.
 *
 * SPDX-License-Identifier: 0BSD
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef FIXEDFANN
#include <fixedfann.h>
#else
#include <floatfann.h>
#endif

static float *next;
static unsigned int inputs, hidden, outputs, samples;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static float *load(const char *path)
{
    FILE *file = fopen(path, "rb");
    float *data;
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) <= 0) {
        exit(2);
    }
    rewind(file);
    data = malloc((size_t)size);
    if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
        exit(2);
    }
    fclose(file);
    return data;
}

#ifndef FIXEDFANN
/* Neurons are numbered layer by layer, each layer but the last ending in its bias. */
static void set_weights(struct fann *net)
{
    unsigned int i, j, first_hidden = inputs + 1, first_output = first_hidden + hidden + 1;

    for (j = 0; j < hidden; j++) {
        for (i = 0; i < inputs; i++) {
            fann_set_weight(net, i, first_hidden + j, *next++);
        }
        fann_set_weight(net, inputs, first_hidden + j, 0);
    }
    for (j = 0; j < outputs; j++) {
        for (i = 0; i < hidden; i++) {
            fann_set_weight(net, first_hidden + i, first_output + j, *next++);
        }
        fann_set_weight(net, first_hidden + hidden, first_output + j, 0);
    }
}
#endif

int main(int argc, char **argv)
{
    float rate, *w, *x, *t;
    fann_type *a0;
    struct fann *net;
    unsigned int i, run, runs, step, steps, right = 0;

    if (argc != 5) {
        return 2;
    }
    next = load(argv[1]);
    inputs = (unsigned int)*next++;
    hidden = (unsigned int)*next++;
    outputs = (unsigned int)*next++;
    samples = (unsigned int)*next++;
    rate = *next++;
    w = next;
    x = w + hidden * inputs + outputs * hidden;
    t = x + samples * inputs;
    runs = (unsigned int)atoi(argv[3]);
    steps = (unsigned int)atoi(argv[4]);
    a0 = malloc(samples * inputs * sizeof *a0);
#ifdef FIXEDFANN
    (void)rate;
    net = fann_create_from_file(argv[2]);
    if (net == NULL) {
        return 2;
    }
    for (i = 0; i < samples * inputs; i++) {
        a0[i] = (fann_type)(x[i] * (float)fann_get_multiplier(net));
    }
#else
    net = fann_create_standard(3, inputs, hidden, outputs);
    fann_set_activation_function_hidden(net, FANN_SIGMOID);
    fann_set_activation_function_output(net, FANN_SIGMOID);
    fann_set_activation_steepness_hidden(net, 0.5f);
    fann_set_activation_steepness_output(net, 0.5f);
    fann_set_training_algorithm(net, FANN_TRAIN_INCREMENTAL);
    fann_set_train_error_function(net, FANN_ERRORFUNC_LINEAR);
    fann_set_learning_rate(net, rate);
    fann_set_learning_momentum(net, 0.0f);
    set_weights(net);
    for (i = 0; i < samples * inputs; i++) {
        a0[i] = x[i];
    }
    for (run = 0; run < runs; run++) {
        double begin = now();

        for (step = 0; step < steps; step++) {
            i = step % samples;
            fann_train(net, a0 + i * inputs, t + i * outputs);
        }
        printf("training %.0f\n", (double)steps / (now() - begin));
    }
    fann_save_to_fixed(net, argv[2]);
#endif
    for (run = 0; run < runs; run++) {
        double begin = now();

        for (step = 0; step < steps; step++) {
            fann_run(net, a0 + step % samples * inputs);
        }
        printf("inference %.0f\n", (double)steps / (now() - begin));
    }
    for (i = 0; i < samples; i++) {
        const fann_type *y = fann_run(net, a0 + i * inputs);
        unsigned int j, best = 0;

        for (j = 1; j < outputs; j++) {
            best = y[j] > y[best] ? j : best;
        }
        right += t[i * outputs + best] > 0.5f;
    }
    printf("right %.4f\n", (double)right / samples);
    fann_destroy(net);
    return 0;
}
