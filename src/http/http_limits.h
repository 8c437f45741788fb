/* Every limit and time-out of an HTTP connection, in one place.
 *
 * Sizes in bytes, times in milliseconds. What is not a constant here can be set through
 * `struct peer_config` (tests shorten the times), with these values as the defaults. */
#ifndef ZKV_HTTP_HTTP_LIMITS_H
#define ZKV_HTTP_HTTP_LIMITS_H

#define HTTP_HEAD_MAX (32 * 1024)   /* request line and headers, with the empty line */
#define HTTP_HEADERS_MAX 100        /* header lines */
#define HTTP_BLANK_MAX 4            /* CR and LF before a request line that are ignored */
#define HTTP_CHUNK_EXT_MAX 256      /* behind a chunk's size, without CRLF */
#define HTTP_TRAILER_MAX (8 * 1024) /* all trailer lines of a chunked body; they are ignored */

/* What is read at once, and with it the most that can be there unhandled of pipelined requests. */
#define HTTP_READ_SMALL (16 * 1024) /* heads and small bodies */
#define HTTP_READ_LARGE (64 * 1024) /* bodies; larger is not faster */
#define HTTP_READ_TAIL (8 * 1024)   /* a buffer with less room than this is not read into again */
#define HTTP_HELD_MAX 4             /* buffers one upload may keep from being reused */
#define HTTP_KEEP_SMALL 64          /* buffers kept for reuse, whole server */
#define HTTP_KEEP_LARGE 32
#define HTTP_KEEP_ARENAS 64

/* Bounds for all connections together; beyond them the one that is longest at it is closed. */
#define HTTP_UNSENT_MAX (8ull * 1024 * 1024)  /* answers queued; not those of the last ... */
#define HTTP_UNSENT_MS 1000                   /* ... so many ms */
#define HTTP_PARTIAL_MAX (8ull * 1024 * 1024) /* heads that are not complete */

#define HTTP_HEAD_MS 10000         /* from the first byte of a head to its last */
#define HTTP_IDLE_MS 120000        /* between two requests, and before the first */
#define HTTP_BODY_WINDOW_MS 30000  /* a body that brings less than ... */
#define HTTP_BODY_MIN (30 * 1024)  /* ... this within that window is given up */
#define HTTP_WRITE_STALL_MS 120000 /* a client that takes no byte of its answer for so long */
#define HTTP_LINGER_QUIET_MS 2000  /* after a last answer: no byte for so long, and it is closed */
#define HTTP_LINGER_MS 30000       /* after a last answer: closed in any case */
#define HTTP_LINGER_MAX (64ull * 1024 * 1024) /* bytes of a refused body that are thrown away */
#define HTTP_SWEEP_MS 500                     /* how often the time-outs are looked at */

#endif
