/* The textbook's program on iris, written anew: 4-25-3, all sigmoids, half the sum of squared errors, double precision,
   one random row an iteration, learning rate 0.05. As in the original the biases of the output layer never change.
   To compare with, and to be as good as a compiler makes it: gcc -O3 -march=native -ffast-math -shared -fPIC. */

#include <math.h>
#include <stdint.h>

enum { INPUTS = 4, HIDDEN = 25, OUTPUTS = 3 };

typedef struct {
    double weight_1[INPUTS][HIDDEN], bias_1[HIDDEN];
    double weight_2[OUTPUTS][HIDDEN], bias_2[OUTPUTS];
    uint64_t random;
} Network;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* xorshift64*: Vigna, An experimental exploration of Marsaglia's xorshift generators, scrambled, 2016. */
static uint64_t next(Network *n) {
    uint64_t x = n->random;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    n->random = x;
    return x * 0x2545F4914F6CDD1DULL;
}

static double uniform(Network *n) { return (double)(next(n) >> 11) * 0x1p-53; }

static void forward(const Network *n, const double *x, double *hidden, double *output) {
    for (int j = 0; j < HIDDEN; j++) {
        double sum = n->bias_1[j];
        for (int i = 0; i < INPUTS; i++) sum += x[i] * n->weight_1[i][j];
        hidden[j] = sigmoid(sum);
    }
    for (int k = 0; k < OUTPUTS; k++) {
        double sum = n->bias_2[k];
        for (int j = 0; j < HIDDEN; j++) sum += hidden[j] * n->weight_2[k][j];
        output[k] = sigmoid(sum);
    }
}

uint64_t network_bytes(void) { return sizeof(Network); }

/* Weights uniform in [-0.5, 0.5), biases 0. The seed is not 0. */
void start(Network *n, uint64_t seed) {
    n->random = seed;
    for (int i = 0; i < INPUTS; i++)
        for (int j = 0; j < HIDDEN; j++) n->weight_1[i][j] = uniform(n) - 0.5;
    for (int k = 0; k < OUTPUTS; k++)
        for (int j = 0; j < HIDDEN; j++) n->weight_2[k][j] = uniform(n) - 0.5;
    for (int j = 0; j < HIDDEN; j++) n->bias_1[j] = 0;
    for (int k = 0; k < OUTPUTS; k++) n->bias_2[k] = 0;
}

/* measures: rows x 4; desired: rows x 3. */
void train(Network *n, const double *measures, const double *desired, int64_t rows, int64_t iterations, double rate) {
    double hidden[HIDDEN], output[OUTPUTS], error[OUTPUTS];
    for (int64_t step = 0; step < iterations; step++) {
        int64_t row = (int64_t)(uniform(n) * (double)rows);
        const double *x = measures + row * INPUTS, *target = desired + row * OUTPUTS;
        forward(n, x, hidden, output);
        for (int k = 0; k < OUTPUTS; k++) error[k] = (output[k] - target[k]) * output[k] * (1 - output[k]);
        for (int j = 0; j < HIDDEN; j++) {
            double back = 0;
            for (int k = 0; k < OUTPUTS; k++) back += error[k] * n->weight_2[k][j];
            for (int k = 0; k < OUTPUTS; k++) n->weight_2[k][j] -= rate * error[k] * hidden[j];
            double moved = rate * back * hidden[j] * (1 - hidden[j]);
            for (int i = 0; i < INPUTS; i++) n->weight_1[i][j] -= moved * x[i];
            n->bias_1[j] -= moved;
        }
    }
}

/* The number of the largest output. */
int64_t species(const Network *n, const double *measures) {
    double hidden[HIDDEN], output[OUTPUTS];
    forward(n, measures, hidden, output);
    int64_t best = 0;
    for (int k = 1; k < OUTPUTS; k++)
        if (output[k] > output[best]) best = k;
    return best;
}
