/* Addresses to listen on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/addr.h"

static void numbers_come_back_as_they_were_given(void **state)
{
    static const char *const texts[] = {"127.0.0.1:7711", "127.0.0.1:0", "10.1.2.3:65535",
                                        "[::1]:7711", "[2001:db8::5]:1"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct sockaddr_storage ss;
        char out[ADDR_TEXT_BYTES];
        assert_int_equal(addr_parse(texts[i], &ss, NULL), 0);
        addr_format(&ss, out);
        assert_string_equal(out, texts[i]);
        assert_int_equal(addr_port(&ss), i == 1 ? 0 : i == 2 ? 65535 : i == 4 ? 1 : 7711);
    }
}

static void what_is_not_host_and_port_is_refused_with_a_sentence(void **state)
{
    static const char *const texts[] = {"",
                                        "7711",
                                        ":7711",
                                        "127.0.0.1",
                                        "127.0.0.1:",
                                        "127.0.0.1:65536",
                                        "127.0.0.1:-1",
                                        "127.0.0.1: 1",
                                        "::1:7711",
                                        "[]:1",
                                        "[::1]",
                                        "a:b:1"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct sockaddr_storage ss;
        struct zerr_info info = {0};
        assert_int_equal(addr_parse(texts[i], &ss, &info), ZERR_INVALID);
        assert_non_null(strstr(info.text, "-addr"));
    }
}

static void a_name_longer_than_any_is_refused(void **state)
{
    char text[400];
    struct sockaddr_storage ss;
    struct zerr_info info = {0};
    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof text - 4, ":80", 4);
    assert_int_equal(addr_parse(text, &ss, &info), ZERR_INVALID);
}

static void only_addresses_of_this_machine_are_loopback(void **state)
{
    static const char *const inside[] = {"127.0.0.1:1", "127.255.255.254:1", "[::1]:1",
                                         "[::ffff:127.0.0.1]:1", "localhost:1"};
    static const char *const outside[] = {
        "0.0.0.0:1", "128.0.0.1:1", "126.255.255.255:1", "192.168.1.1:1",
        "[::]:1",    "[::2]:1",     "[fe80::1]:1",       "[::ffff:10.0.0.1]:1"};
    struct sockaddr_storage ss;
    (void)state;
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        assert_int_equal(addr_parse(inside[i], &ss, NULL), 0);
        assert_true(addr_is_loopback(&ss));
    }
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_int_equal(addr_parse(outside[i], &ss, NULL), 0);
        assert_false(addr_is_loopback(&ss));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_as_they_were_given),
        cmocka_unit_test(what_is_not_host_and_port_is_refused_with_a_sentence),
        cmocka_unit_test(a_name_longer_than_any_is_refused),
        cmocka_unit_test(only_addresses_of_this_machine_are_loopback),
    };
    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
