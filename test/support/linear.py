#!/usr/bin/env python3
"""Are single keys linearizable? Many clients at once, and a server that stays up.

  linear.py ADDR SECONDS CLIENTS narrow|mixed [SEED]

Rounds of a second or so: narrow: all clients PUT, GET, DELETE, copy, and use If-None-Match: * and
If-Match as compare-and-set on a few keys; mixed: whatever there is, large bodies and uploads that
are cut, too. When all have been answered the keys are read, and for each key an order of the
operations must exist that explains every answer (history.py)."""
import asyncio
import random
import sys
import time

import history as h
import swarm

ROUND_SECONDS = 1
HANG_SECONDS = 60


LOADS = {
    "narrow": swarm.NARROW,
    # An upload that nobody waits for could come to its end in the next round.
    "mixed": swarm.MIXED._replace(
        actions={name: n for name, n in swarm.MIXED.actions.items() if name != "hang_up"}),
}


async def one_round(address, history, load, n_clients, seed, seconds):
    clients = swarm.Swarm(address, history, load, n_clients, seed)
    asyncio.get_running_loop().call_later(seconds, clients.stop)
    await asyncio.wait_for(clients.run(), HANG_SECONDS)
    if not clients.stopping:
        raise h.Wrong("the server closed every connection")
    if history.n_open > 0 or clients.unhappy:
        raise h.Wrong("%d requests without an answer, refusals %s" % (
            history.n_open, dict(clients.unhappy)))
    return await swarm.survey(address, history, history.state)


def main():
    address, seconds, n_clients = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    load = LOADS[sys.argv[4]]
    seed = sys.argv[5] if len(sys.argv) > 5 else str(random.SystemRandom().randrange(1 << 32))
    print("seed %s" % seed, flush=True)
    history = h.History()
    began, number = time.monotonic(), 0
    while number == 0 or time.monotonic() < began + seconds:
        name = "%s.%d" % (seed, number)
        try:
            length = min(ROUND_SECONDS, seconds)
            history.settle(asyncio.run(one_round(address, history, load, n_clients, name, length)))
        except (h.Wrong, TimeoutError) as failure:
            sys.exit("round %d, seed %s: %r\n%s" % (number, seed, failure, failure))
        number += 1
    print("%d clients, %s, %d rounds: %d answers, and an order that explains them" % (
        n_clients, sys.argv[4], number, history.n_acked))


if __name__ == "__main__":
    main()
