#include "http/http_msg.h"

#include <strings.h>

const struct slice *http_request_header(const struct http_request *req, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct http_header *h = &req->headers[i];
        if (h->name.len == len && strncasecmp((const char *)h->name.ptr, name, len) == 0) {
            return &h->value;
        }
    }
    return NULL;
}
