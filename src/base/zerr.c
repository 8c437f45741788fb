#include "base/zerr.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *zerr_str(int zerr)
{
    switch (zerr) {
    case 0:
        return "success";
    case ZKV_PENDING:
        return "not finished yet";
    case ZERR_NOT_FOUND:
        return "not found";
    case ZERR_TOO_LARGE:
        return "too large";
    case ZERR_CORRUPT:
        return "not in the expected format";
    case ZERR_IO:
        return "input/output error";
    case ZERR_NO_SPACE:
        return "no space left";
    case ZERR_NOMEM:
        return "out of memory";
    case ZERR_BAD_REV:
        return "no such revision";
    case ZERR_LOCKED:
        return "in use by another process";
    case ZERR_POISONED:
        return "takes no more writes after an error";
    case ZERR_INVALID:
        return "not valid";
    case ZERR_BUSY:
        return "busy, try again later";
    case ZERR_BAD_DIGEST:
        return "the checksum does not match";
    case ZERR_PRECONDITION:
        return "the condition does not hold";
    case ZERR_DAMAGED:
        return "damaged";
    case ZERR_EXISTS:
        return "exists already";
    case ZERR_UNSUPPORTED:
        return "not supported";
    case ZERR_CANCELED:
        return "canceled";
    case ZERR_INCOMPLETE:
        return "fewer bytes than announced";
    case ZERR_LIMIT:
        return "too many open files";
    case ZERR_NO_UPLOAD:
        return "no such upload";
    case ZERR_BAD_PART:
        return "a part is not there";
    case ZERR_SMALL_PART:
        return "a part is too small";
    case ZERR_NOT_EMPTY:
        return "not empty";
    default:
        return "unknown error";
    }
}

int zerr_fail(struct zerr_info *info, int zerr, int sys_errno, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (info == NULL || info->text[0] != '\0') {
        return zerr;
    }
    info->sys_errno = sys_errno;
    va_start(ap, fmt);
    n = vsnprintf(info->text, sizeof(info->text), fmt, ap);
    va_end(ap);
    if (sys_errno != 0 && n >= 0 && (size_t)n < sizeof(info->text)) {
        (void)snprintf(info->text + n, sizeof(info->text) - (size_t)n, ": %s", strerror(sys_errno));
    }
    return zerr;
}

const char *zerr_text(const struct zerr_info *info, int zerr)
{
    return info != NULL && info->text[0] != '\0' ? info->text : zerr_str(zerr);
}
