/* The functions of a predictor in C; exports copy those that a network uses. A row is a vector,
   whatever its shape. A function has the name of a step. If its comment says so, y may be x. In a
   copy, `real` is float or double, and functions of math.h end in f for float. */

#include <math.h>

typedef double real;

/* The Gaussian error linear unit; y may be x. */
static inline void exact_gelu(const real *x, int n, real root, real *y) {
    for (int i = 0; i < n; i++) y[i] = (real)0.5 * x[i] * erfc(-root * x[i]);
}

/* A copy of x; y may be x. */
static inline void copy(const real *x, int n, real *y) {
    for (int i = 0; i < n; i++) y[i] = x[i];
}

/* x W for each of `count` consecutive vectors; the rows of W are also consecutive. */
static inline void matmul(const real *x, int count, int inputs, int units, const real *W, real *y) {
    for (int k = 0; k < count; k++, x += inputs, y += units) {
        for (int u = 0; u < units; u++) y[u] = 0;
        for (int i = 0; i < inputs; i++) {
            for (int u = 0; u < units; u++) y[u] += x[i] * W[i * units + u];
        }
    }
}

/* x W + b for each of `count` consecutive vectors. */
static inline void dense(const real *x, int count, int inputs, int units, const real *W,
                         const real *b, real *y) {
    matmul(x, count, inputs, units, W, y);
    for (int i = 0; i < count * units; i++) y[i] += b[i % units];
}

/* Pixel k of the window of output p, or 0 in padding. Along the height and the width, `window` has
   the sizes of x, of the output and of the window, its strides, padding and dilation. */
static inline const real *pixel_of(const real *x, int channels, const int *window, int p, int k) {
    int row = p / window[3] * window[6] - window[8] + k / window[5] * window[10];
    int column = p % window[3] * window[7] - window[9] + k % window[5] * window[11];
    if (row < 0 || row >= window[0] || column < 0 || column >= window[1]) return 0;
    return x + (row * window[1] + column) * channels;
}

/* patch W + b for each patch; each group of units has its group of channels. */
static inline void convolution(const real *x, int channels, int units, const real *W,
                               const real *b, const int *window, int groups, real *y) {
    int size = channels / groups, group = units / groups;
    for (int p = 0; p < window[2] * window[3]; p++, y += units) {
        for (int u = 0; u < units; u++) y[u] = b[u];
        for (int k = 0; k < window[4] * window[5]; k++) {
            const real *pixel = pixel_of(x, channels, window, p, k);
            for (int c = 0; pixel && c < channels; c++) {
                const real *w = W + (k * size + c % size) * units;
                int first = c / size * group;
                for (int u = first; u < first + group; u++) y[u] += pixel[c] * w[u];
            }
        }
    }
}

/* The maximum of each channel in each window. */
static inline void max_pool(const real *x, int channels, const int *window, real *y) {
    for (int p = 0; p < window[2] * window[3]; p++, y += channels) {
        for (int c = 0; c < channels; c++) y[c] = -INFINITY;
        for (int k = 0; k < window[4] * window[5]; k++) {
            const real *pixel = pixel_of(x, channels, window, p, k);
            for (int c = 0; pixel && c < channels; c++) {
                if (pixel[c] > y[c] || pixel[c] != pixel[c]) y[c] = pixel[c];
            }
        }
    }
}

/* The mean of each channel in each window, without padding. */
static inline void average_pool(const real *x, int channels, const int *window, real *y) {
    for (int p = 0; p < window[2] * window[3]; p++, y += channels) {
        int count = 0;
        for (int c = 0; c < channels; c++) y[c] = 0;
        for (int k = 0; k < window[4] * window[5]; k++) {
            const real *pixel = pixel_of(x, channels, window, p, k);
            for (int c = 0; pixel && c < channels; c++) y[c] += pixel[c];
            count += pixel != 0;
        }
        for (int c = 0; c < channels; c++) y[c] /= count;
    }
}

/* x_g W_g for each group g. */
static inline void group_matmul(const real *x, int groups, int inputs, int units, const real *W,
                                real *y) {
    for (int g = 0; g < groups; g++) {
        matmul(x + g * inputs, 1, inputs, units, W + g * inputs * units, y + g * units);
    }
}

/* For each output a level: on for its code, second for its second code, else off. `levels` has all
   levels off, then all on, then all second. */
static inline void one_hot(const real *x, int n, const int *columns, const int *codes,
                           const int *second_codes, const real *levels, real *y) {
    for (int i = 0; i < n; i++) {
        real code = x[columns[i]];
        int level = code == codes[i] ? 1 : code == second_codes[i] ? 2 : 0;
        y[i] = levels[level * n + i];
    }
}

/* Each code's row of the table, which has the rows of one column after the other. */
static inline void embedding(const real *x, int columns, int dimension, const int *sizes,
                             const real *table, real *y) {
    for (int c = 0; c < columns; c++) {
        int code = x[c] >= 0 && x[c] < sizes[c] ? (int)x[c] : 0;
        for (int i = 0; i < dimension; i++) *y++ = table[code * dimension + i];
        table += sizes[c] * dimension;
    }
}

/* The mean of the members' outputs. */
static inline void mean_of_members(const real *x, int members, int outputs, real *y) {
    for (int i = 0; i < outputs; i++) {
        y[i] = 0;
        for (int m = 0; m < members; m++) y[i] += x[m * outputs + i];
        y[i] /= members;
    }
}

/* The log of the members' mean of exp(x), without underflow. */
static inline void log_of_mean(const real *x, int members, int outputs, real *y) {
    for (int i = 0; i < outputs; i++) {
        real top = x[i], total = 0;
        for (int k = i; k < members * outputs; k += outputs) top = x[k] > top ? x[k] : top;
        for (int k = i; k < members * outputs; k += outputs) total += exp(x[k] - top);
        y[i] = log(total / members) + top;
    }
}

/* The probability of each class. */
static inline void softmax(const real *x, int n, real *p) {
    real top = x[0], total = 0;
    for (int i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int i = 0; i < n; i++) total += p[i] = exp(x[i] - top);
    for (int i = 0; i < n; i++) p[i] /= total;
}

/* The probability of each label. */
static inline void logistic(const real *x, int n, real *p) {
    for (int i = 0; i < n; i++) {
        real decay = exp(-fabs(x[i]));
        p[i] = (x[i] >= 0 ? 1 : decay) / (1 + decay);
    }
}

/* The index of the largest number; -1 if a number is NAN. */
static inline int largest_of(const real *x, int n) {
    int index = 0;
    for (int i = 0; i < n; i++) {
        if (x[i] != x[i]) return -1;
        index = x[i] > x[index] ? i : index;
    }
    return index;
}
