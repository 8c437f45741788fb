#include "base/timefmt.h"

#include <stdio.h>
#include <time.h>

#include "base/num.h"

#define MS_PER_DAY (24 * 3600 * (int64_t)1000)
#define YEAR_MIN_MS (-62135596800000) /* 0001-01-01T00:00:00.000Z */
#define YEAR_MAX_MS 253402300799999   /* 9999-12-31T23:59:59.999Z */

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_days[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                         "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct civil {
    int year, month, day, hour, min, sec, ms, weekday; /* month and day from 1; Sunday is 0 */
};

/* Days since 1970-01-01 of a date of the Gregorian calendar (years counted from March). */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct civil civil_of(int64_t ms)
{
    struct civil c;
    int64_t day, z, era, doe, yoe, doy, mp;

    if (ms < YEAR_MIN_MS) {
        ms = YEAR_MIN_MS;
    } else if (ms > YEAR_MAX_MS) {
        ms = YEAR_MAX_MS;
    }
    day = ms / MS_PER_DAY - (ms % MS_PER_DAY < 0);
    ms -= day * MS_PER_DAY;
    z = day + 719468;
    era = (z >= 0 ? z : z - 146096) / 146097;
    doe = z - era * 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    c.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    c.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    c.year = (int)(yoe + era * 400 + (c.month <= 2));
    c.weekday = (int)(((day + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    c.hour = (int)(ms / 3600000);
    c.min = (int)(ms / 60000 % 60);
    c.sec = (int)(ms / 1000 % 60);
    c.ms = (int)(ms % 1000);
    return c;
}

/* v in exactly n digits with leading zeros, at p. */
static char *put_digits(char *p, int v, int n)
{
    int i;

    for (i = n - 1; i >= 0; i--) {
        p[i] = (char)('0' + v % 10);
        v /= 10;
    }
    return p + n;
}

static char *put_text(char *p, const char *s)
{
    size_t n = strlen(s);

    memcpy(p, s, n);
    return p + n;
}

static char *put_clock(char *p, const struct civil *c)
{
    p = put_digits(p, c->hour, 2);
    *p++ = ':';
    p = put_digits(p, c->min, 2);
    *p++ = ':';
    return put_digits(p, c->sec, 2);
}

void time_http(int64_t ms, char out[TIME_HTTP_LEN + 1])
{
    struct civil c = civil_of(ms);
    char *p = put_text(out, days[c.weekday]);

    p = put_text(p, ", ");
    p = put_digits(p, c.day, 2);
    *p++ = ' ';
    p = put_text(p, months[c.month - 1]);
    *p++ = ' ';
    p = put_digits(p, c.year, 4);
    *p++ = ' ';
    p = put_clock(p, &c);
    p = put_text(p, " GMT");
    *p = '\0';
}

void time_iso(int64_t ms, char out[TIME_ISO_LEN + 1])
{
    struct civil c = civil_of(ms);
    char *p = put_digits(out, c.year, 4);

    *p++ = '-';
    p = put_digits(p, c.month, 2);
    *p++ = '-';
    p = put_digits(p, c.day, 2);
    *p++ = 'T';
    p = put_clock(p, &c);
    *p++ = '.';
    p = put_digits(p, c.ms, 3);
    *p++ = 'Z';
    *p = '\0';
}

/* ---- parsing: each eats its text from the front of *s, false if it is not there ---- */

static bool eat_lit(struct slice *s, const char *lit)
{
    size_t n = strlen(lit);

    if (!slice_has_prefix(*s, slice_of(lit, n))) {
        return false;
    }
    *s = slice_of(s->ptr + n, s->len - n);
    return true;
}

static bool eat_digits(struct slice *s, size_t n, int *ret)
{
    uint64_t v;

    if (s->len < n || num_parse_u64(slice_of(s->ptr, n), 9999, &v) != 0) {
        return false;
    }
    *ret = (int)v;
    *s = slice_of(s->ptr + n, s->len - n);
    return true;
}

static bool eat_month(struct slice *s, int *ret)
{
    int i;

    for (i = 0; i < 12; i++) {
        if (eat_lit(s, months[i])) {
            *ret = i + 1;
            return true;
        }
    }
    return false;
}

static bool eat_clock(struct slice *s, struct civil *c)
{
    return eat_digits(s, 2, &c->hour) && eat_lit(s, ":") && eat_digits(s, 2, &c->min) &&
           eat_lit(s, ":") && eat_digits(s, 2, &c->sec);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" behind the day's name. */
static bool eat_imf(struct slice *s, struct civil *c)
{
    return eat_lit(s, ", ") && eat_digits(s, 2, &c->day) && eat_lit(s, " ") &&
           eat_month(s, &c->month) && eat_lit(s, " ") && eat_digits(s, 4, &c->year) &&
           eat_lit(s, " ") && eat_clock(s, c) && eat_lit(s, " GMT");
}

/* "Sunday, 06-Nov-94 08:49:37 GMT": a year more than 50 years ahead is of the century before. */
static bool eat_rfc850(struct slice *s, struct civil *c)
{
    int now;

    if (!(eat_lit(s, ", ") && eat_digits(s, 2, &c->day) && eat_lit(s, "-") &&
          eat_month(s, &c->month) && eat_lit(s, "-") && eat_digits(s, 2, &c->year) &&
          eat_lit(s, " ") && eat_clock(s, c) && eat_lit(s, " GMT"))) {
        return false;
    }
    now = civil_of((int64_t)time(NULL) * 1000).year;
    c->year += now - now % 100;
    if (c->year > now + 50) {
        c->year -= 100;
    }
    return true;
}

/* "Sun Nov  6 08:49:37 1994". */
static bool eat_asctime(struct slice *s, struct civil *c)
{
    return eat_lit(s, " ") && eat_month(s, &c->month) && eat_lit(s, " ") &&
           (eat_lit(s, " ") ? eat_digits(s, 1, &c->day) : eat_digits(s, 2, &c->day)) &&
           eat_lit(s, " ") && eat_clock(s, c) && eat_lit(s, " ") && eat_digits(s, 4, &c->year);
}

/* ZERR_INVALID: there is no such time. */
static int civil_to_ms(const struct civil *c, int64_t *ret_ms)
{
    static const int month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int n_days;

    if (c->year < 1 || c->month < 1 || c->month > 12 || c->day < 1 || c->hour > 23 || c->min > 59 ||
        c->sec > 60) {
        return ZERR_INVALID;
    }
    n_days = month_days[c->month - 1];
    if (c->month == 2 && c->year % 4 == 0 && (c->year % 100 != 0 || c->year % 400 == 0)) {
        n_days = 29;
    }
    if (c->day > n_days) {
        return ZERR_INVALID;
    }
    *ret_ms = days_from_civil(c->year, c->month, c->day) * MS_PER_DAY +
              ((int64_t)c->hour * 3600 + c->min * 60 + c->sec) * 1000;
    return 0;
}

int time_parse_basic(struct slice s, int64_t *ret_ms)
{
    struct civil c = {0};

    if (!(eat_digits(&s, 4, &c.year) && eat_digits(&s, 2, &c.month) && eat_digits(&s, 2, &c.day) &&
          eat_lit(&s, "T") && eat_digits(&s, 2, &c.hour) && eat_digits(&s, 2, &c.min) &&
          eat_digits(&s, 2, &c.sec) && eat_lit(&s, "Z") && s.len == 0)) {
        return ZERR_INVALID;
    }
    return civil_to_ms(&c, ret_ms);
}

int time_parse_http(struct slice s, int64_t *ret_ms)
{
    struct civil c = {0};
    bool ok = false;
    int i;

    for (i = 0; i < 7 && !ok; i++) {
        struct slice rest = s;

        if (eat_lit(&rest, long_days[i])) {
            ok = eat_rfc850(&rest, &c);
        } else if (eat_lit(&rest, days[i])) {
            struct slice again = rest;

            ok = eat_imf(&rest, &c);
            if (!ok) {
                rest = again;
                ok = eat_asctime(&rest, &c);
            }
        }
        ok = ok && rest.len == 0;
    }
    return ok ? civil_to_ms(&c, ret_ms) : ZERR_INVALID;
}
