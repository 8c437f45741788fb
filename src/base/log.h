/* Log lines on standard error, one write(2) each.
 *
 * Libraries (store, http, s3) never log above debug: they return errors, and their caller logs
 * once. Bytes that came from outside are quoted with log_quote(). While a live status line is
 * shown the sink erases it first (log_set_status()). */
#ifndef ZKV_BASE_LOG_H
#define ZKV_BASE_LOG_H

#include <stdbool.h>

#include "base/slice.h"
#include "base/zerr.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level);
bool log_enabled(enum log_level);
void log_at(enum log_level, const char *fmt, ...) ZKV_PRINTF(2, 3);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_at(LOG_DEBUG, __VA_ARGS__) : (void)0)

/* Writes s between double quotes into out (cap bytes, NUL-terminated, cut with "..."):
 * printable ASCII as it is, the rest as \xNN. Returns out. */
const char *log_quote(struct slice s, char *out, size_t cap);

/* The live line shown below the log on a terminal; NULL or "" erases it. */
void log_set_status(const char *line);

#endif
