/* What is wrong with what the server is asked to do, told before anything is touched. Each error says
 * what to do instead. */
#ifndef ZKV_SERVER_CONFIG_H
#define ZKV_SERVER_CONFIG_H

#include <sys/socket.h>

#include "server/server.h"

/* The options by themselves, with the address to listen on (a name is looked up).
 * Errors: ZERR_INVALID: it is the option; others: the look-up. Blocks. */
int config_check(const struct server_config *, struct sockaddr_storage *ret_addr,
                 struct zerr_info *) ZKV_MUST_CHECK;
/* The directory, and the place of the index: they are there and may be written. */
int config_check_dir(const struct server_config *, struct zerr_info *) ZKV_MUST_CHECK;

#endif
