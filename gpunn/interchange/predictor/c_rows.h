/* The functions that encode a table's cells as numbers in C; exports copy those that a schema needs.
   They compute in double, whatever the network's type. */

#include <math.h>

/* (number - center) factor, clipped so that its square does not overflow. */
static inline double bounded(double number, double center, double factor) {
    double z = (number - center) * factor;
    return z < -1e150 ? -1e150 : z > 1e150 ? 1e150 : z;
}

/* A number, unchanged. */
static inline double unscaled(double number, double median) {
    (void)median;
    return number;
}

/* (number - mean) / deviation. */
static inline double standard_scaled(double number, double median, double mean, double deviation) {
    (void)median;
    double smallest = 2.2250738585072014e-308; /* its reciprocal does not overflow */
    return bounded(number, mean, 1 / (deviation < smallest ? smallest : deviation));
}

/* z / sqrt(1 + (z / 3)^2) for z = (number - median) factor. */
static inline double robust_scaled(double number, double median, double factor) {
    double z = bounded(number, median, factor);
    return z / sqrt((z / 3) * (z / 3) + 1);
}

/* The value at a number, linear between n ascending points with evenly spaced values from 0 to 1.
   The last of equal points counts, or with `first` the first. */
static inline double interpolated(double number, const double *points, int n, int first) {
    int low = 0, high = n; /* number of points that are not above the number, or are below it */
    while (low < high) {
        int middle = (low + high) / 2;
        if (first ? points[middle] < number : points[middle] <= number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == n || low == 0) return low == n;
    double step = 1.0 / (n - 1), value = (low - 1) * step;
    double next = low == n - 1 ? 1 : low * step;
    return value + (next - value) / (points[low] - points[low - 1]) * (number - points[low - 1]);
}

/* The value of a polynomial of degree 7, with the highest power first. */
static inline double polynomial(const double *coefficients, double x) {
    double value = 0;
    for (int i = 0; i < 8; i++) value = value * x + coefficients[i];
    return value;
}

/* The quantile p of the normal distribution, by algorithm AS 241 (Wichura 1988). */
static inline double inverse_normal(double p) {
    static const double central[2][8] = {
        {2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
         4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
         1.3314166789178437745e2, 3.3871328727963666080e0},
        {5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
         2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
         4.2313330701600911252e1, 1.0}};
    static const double tail[2][8] = {
        {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
         1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
         4.63033784615654529590e0, 1.42343711074968357734e0},
        {1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
         1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
         2.05319162663775882187e0, 1.0}};
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(central[0], r) / polynomial(central[1], r);
    }
    double r = sqrt(-log(p < 1 - p ? p : 1 - p)) - 1.6;
    double z = polynomial(tail[0], r) / polynomial(tail[1], r);
    return q < 0 ? -z : z;
}

/* The quantile of the normal distribution at the number's rank in the training rows. */
static inline double quantile_scaled(double number, double median, const double *quantiles, int n,
                                     double lowest, double highest) {
    (void)median;
    number = number < -8e307 ? -8e307 : number > 8e307 ? 8e307 : number;
    double last = interpolated(number, quantiles, n, 0);
    double first = interpolated(number, quantiles, n, 1);
    double p = (last + first) / 2;
    return inverse_normal(p < lowest ? lowest : p > highest ? highest : p);
}

/* The code of a category among n known names; 0 if it is missing (NULL) or unknown. */
static inline int code_of(const char *name, const char *const *names, const int *codes, int n) {
    for (int i = 0; name && i < n; i++) {
        const char *a = name, *b = names[i];
        while (*a && *a == *b) a++, b++;
        if (*a == *b) return codes[i];
    }
    return 0;
}

/* Whether the date, in the years 1 to 9999, and the time exist. */
static inline int is_date(int year, int month, int day, double hour) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || year > 9999 || month < 1 || month > 12 || !(hour >= 0 && hour < 24)) return 0;
    int leap = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day >= 1 && day <= days[month - 1] + leap;
}

/* The day of the week of a date that exists, from 0 for Monday to 6. */
static inline int weekday(int year, int month, int day) {
    static const int before[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
    year -= month < 3;
    return (year + year / 4 - year / 100 + year / 400 + before[month - 1] + day + 6) % 7;
}
