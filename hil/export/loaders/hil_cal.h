/* Reads a calibration written by "hil calib export array.h5 array.csv". C99, header only, no dependencies.
 *
 *   hil_cal c;
 *   if (hil_cal_load("array.csv", &c) != 0) return 1;
 *   hil_cal_divide(&c, x, y);          one sample of each element, interleaved re, im: y = x / gain
 *   hil_cal_free(&c);
 *
 * Model: x = diag(gain) coupling a, a_m = exp(+j 2 pi fc_hz / 299792458 position_m . u), u from +y, positive
 * towards +x. hil_cal_divide leaves the coupling to the caller (row-major, re and im apart).
 */
#ifndef HIL_CAL_H
#define HIL_CAL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int n;                /* elements */
    double fc_hz;         /* carrier; 0 where the file does not say it */
    double *gain;         /* n x 2: re, im */
    double *position_m;   /* n x 3, as learned */
    double *coupling;     /* n x n x 2: re, im */
} hil_cal;

static inline void hil_cal_free(hil_cal *c)
{
    free(c->gain);
    free(c->position_m);
    free(c->coupling);
    memset(c, 0, sizeof *c);
}

/* One field into `text`; returns the character after it: ',' or '\n', or EOF. */
static inline int hil_cal_field_(FILE *f, char *text, size_t size)
{
    size_t used = 0;
    int quoted = 0, ch;
    while ((ch = fgetc(f)) != EOF) {
        if (ch == '"')
            quoted = !quoted;
        else if (!quoted && (ch == ',' || ch == '\n'))
            break;
        else if (ch != '\r' && used + 1 < size)
            text[used++] = (char)ch;
    }
    text[used] = '\0';
    return ch;
}

static inline void hil_cal_put_(hil_cal *c, int row, const char *name, double value)
{
    static const char *const start[] = {"nominal_", "position_error_"};
    int k, axis;
    if (strcmp(name, "gain_re") == 0)
        c->gain[2 * row] = value;
    else if (strcmp(name, "gain_im") == 0)
        c->gain[2 * row + 1] = value;
    else if (strncmp(name, "coupling_", 9) == 0) {
        char *end;
        long column = strtol(name + 9, &end, 10);
        if (column >= 0 && column < c->n && (strcmp(end, "_re") == 0 || strcmp(end, "_im") == 0))
            c->coupling[2 * (row * c->n + column) + (end[1] == 'i')] = value;
    } else
        for (k = 0; k < 2; k++) {
            size_t length = strlen(start[k]);
            if (strncmp(name, start[k], length) == 0 && strcmp(name + length + 1, "_m") == 0) {
                axis = name[length] - 'x';
                if (axis >= 0 && axis < 3)
                    c->position_m[3 * row + axis] += value;
            }
        }
}

/* 0, or -1: no file, -2: not such a table, -3: no memory. */
static inline int hil_cal_load(const char *path, hil_cal *c)
{
    enum { SIZE = 128, MOST = 1024 };
    char text[SIZE], (*names)[SIZE] = NULL;
    int ch, columns = 0, room = 0, column, row = 0, status = -2;
    FILE *f = fopen(path, "rb");
    memset(c, 0, sizeof *c);
    if (f == NULL)
        return -1;
    while ((ch = fgetc(f)) == '#') { /* comment lines, of any length */
        size_t used = 0;
        while ((ch = fgetc(f)) != EOF && ch != '\n')
            if (used + 1 < SIZE)
                text[used++] = (char)ch;
        text[used] = '\0';
        if (strncmp(text, " fc_hz: ", 8) == 0)
            c->fc_hz = strtod(text + 8, NULL);
    }
    if (ch == EOF || ungetc(ch, f) == EOF)
        goto done;
    do {
        ch = hil_cal_field_(f, text, SIZE);
        if (columns == room) {
            char (*more)[SIZE] = realloc(names, (size_t)(room += 256) * SIZE);
            if (more == NULL) {
                status = -3;
                goto done;
            }
            names = more;
        }
        memcpy(names[columns++], text, SIZE);
        if (strncmp(text, "coupling_", 9) == 0 && strcmp(text + strlen(text) - 3, "_re") == 0)
            c->n++;
    } while (ch == ',');
    if (ch == EOF || c->n < 1 || c->n > MOST)
        goto done;
    c->gain = calloc((size_t)c->n * 2, sizeof(double));
    c->position_m = calloc((size_t)c->n * 3, sizeof(double));
    c->coupling = calloc((size_t)c->n * (size_t)c->n * 2, sizeof(double));
    if (c->gain == NULL || c->position_m == NULL || c->coupling == NULL) {
        status = -3;
        goto done;
    }
    while (ch != EOF && row < c->n) {
        column = 0;
        do {
            ch = hil_cal_field_(f, text, SIZE);
            if (column < columns)
                hil_cal_put_(c, row, names[column], strtod(text, NULL));
            column++;
        } while (ch == ',');
        if (column != columns)
            goto done;
        row++;
    }
    status = row == c->n ? 0 : -2;
done:
    free(names);
    fclose(f);
    if (status != 0)
        hil_cal_free(c);
    return status;
}

/* y = x / gain for one sample of each element, interleaved re, im; y may be x. */
static inline void hil_cal_divide(const hil_cal *c, const double *x, double *y)
{
    int m;
    for (m = 0; m < c->n; m++) {
        double a = c->gain[2 * m], b = c->gain[2 * m + 1], p = x[2 * m], q = x[2 * m + 1], s = a * a + b * b;
        y[2 * m] = (p * a + q * b) / s;
        y[2 * m + 1] = (q * a - p * b) / s;
    }
}

#endif
