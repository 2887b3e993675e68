/* The functions of a predictor of 8-bit integers in C; exports copy those that a network uses. An
   image has channels last, and a dense layer is a convolution of one pixel. `sizes` has, along the
   height and the width, the sizes of x, of the output and of the window, its strides, padding and
   dilation; then channels, units, groups, the offsets of x and of the output, and a shift. A stored
   integer plus its offset, which is 0 or 128, is a number divided by its scale. In a copy, `real`
   is float or double, and functions of math.h end in f for float. */

#include <math.h>

typedef double real;

/* x times factors plus shifts, each of which has `count` numbers, rounded to integers. */
static inline void quantize(const real *x, int n, int count, const real *factors,
                            const real *shifts, signed char *y) {
    for (int i = 0; i < n; i++) {
        real q = rint(x[i] * factors[i % count] + shifts[i % count]);
        y[i] = (signed char)(q > -128 ? q < 127 ? q : 127 : -128);
    }
}

/* The numbers that integers stand for. */
static inline void dequantize(const signed char *x, int n, int offset, real scale, real *y) {
    for (int i = 0; i < n; i++) y[i] = (x[i] + offset) * scale;
}

/* sum * multiplier / 2^shift, rounded, without its offset. */
static inline signed char rescaled(int sum, int multiplier, int offset, int shift) {
    long long product = (long long)sum * multiplier, half = 1LL << (shift - 1);
    long long q = product < 0 ? -((half - product) >> shift) : (half + product) >> shift;
    q -= offset;
    return (signed char)(q < -128 ? -128 : q > 127 ? 127 : q);
}

/* Pixel (k, l) of the window of output (i, j), or 0 in padding. */
static inline const signed char *pixel_at(const signed char *x, const int *sizes, int i, int j,
                                          int k, int l) {
    int row = i * sizes[6] - sizes[8] + k * sizes[10];
    int column = j * sizes[7] - sizes[9] + l * sizes[11];
    if (row < 0 || row >= sizes[0] || column < 0 || column >= sizes[1]) return 0;
    return x + (row * sizes[1] + column) * sizes[12];
}

/* patch w + b of output (i, j) for a unit; W has a row for each unit. */
static inline int sum_of(const signed char *x, const int *sizes, const signed char *W,
                         const int *b, int i, int j, int unit) {
    int size = sizes[12] / sizes[14], sum = b[unit];
    int first = unit / (sizes[13] / sizes[14]) * size;
    W += unit * sizes[4] * sizes[5] * size;
    for (int k = 0; k < sizes[4]; k++) {
        for (int l = 0; l < sizes[5]; l++, W += size) {
            const signed char *pixel = pixel_at(x, sizes, i, j, k, l);
            for (int c = 0; pixel && c < size; c++) sum += (pixel[first + c] + sizes[15]) * W[c];
        }
    }
    return sum;
}

/* patch W + b for each patch, rescaled. */
static inline void convolution(const signed char *x, const int *sizes, const int *multipliers,
                               const signed char *W, const int *b, signed char *y) {
    for (int i = 0; i < sizes[2]; i++) {
        for (int j = 0; j < sizes[3]; j++) {
            for (int u = 0; u < sizes[13]; u++) {
                int sum = sum_of(x, sizes, W, b, i, j, u);
                *y++ = rescaled(sum, multipliers[u], sizes[16], sizes[17]);
            }
        }
    }
}

/* patch W + b for each patch, times scales, as numbers. */
static inline void last_convolution(const signed char *x, const int *sizes, const real *scales,
                                    const signed char *W, const int *b, real *y) {
    for (int i = 0; i < sizes[2]; i++) {
        for (int j = 0; j < sizes[3]; j++) {
            for (int u = 0; u < sizes[13]; u++) *y++ = sum_of(x, sizes, W, b, i, j, u) * scales[u];
        }
    }
}

/* The maximum of each channel in each window, or, with a multiplier, the mean, rescaled. */
static inline void pool(const signed char *x, const int *sizes, const int *multiplier,
                        signed char *y) {
    for (int i = 0; i < sizes[2]; i++) {
        for (int j = 0; j < sizes[3]; j++) {
            for (int c = 0; c < sizes[12]; c++) {
                int sum = 0, count = 0, largest = sizes[16] - 128; /* 0 if the offset is 128 */
                for (int k = 0; k < sizes[4] * sizes[5]; k++) {
                    const signed char *pixel = pixel_at(x, sizes, i, j, k / sizes[5], k % sizes[5]);
                    if (!pixel) continue;
                    int q = pixel[c] + sizes[15];
                    largest = q > largest ? q : largest;
                    sum += q;
                    count++;
                }
                *y++ = *multiplier ? rescaled(sum, *multiplier / count, sizes[16], sizes[17])
                                   : (signed char)(largest - sizes[16]);
            }
        }
    }
}
