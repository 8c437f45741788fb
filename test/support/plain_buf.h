/* Where everything allocates by way of oom.h, what belongs to the tests does not: base/buf.c is there
 * a second time under these names, for the code that is compiled with this header in front. */
#ifndef ZKV_TEST_PLAIN_BUF_H
#define ZKV_TEST_PLAIN_BUF_H

#define buf_finish plain_buf_finish
#define buf_reserve plain_buf_reserve
#define buf_append plain_buf_append
#define buf_append_str plain_buf_append_str
#define buf_printf plain_buf_printf
#ifdef PLAIN_ARENA
#define arena_reset plain_arena_reset
#define arena_finish plain_arena_finish
#define arena_alloc plain_arena_alloc
#define arena_dup plain_arena_dup
#endif

#endif
