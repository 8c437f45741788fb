"""What concurrent clients did to single keys, and whether some order explains it.

Each key is a register: absent, or the number of the write that made it. An Op has a start (before
its first byte was sent) and an end (after its answer was read), both taken from one counter, so
that "ended before that began" is known for all clients. A key's history is accepted if its
operations can be put in an order that keeps to this and in which each answer is what a single
server without concurrency would have said (Wing and Gong's search, with memory of where it failed).

An operation without an answer (the connection broke, or the answer was 5xx) may have happened at
any time after its start, or never; it must not be the reason for anything that ended before it
began. Uploads that the client itself did not send to the end are never in a history: their number
is unknown to every key, so seeing one is an error.

After a crash the keys are read once more; this read is the last operation, and what it saw is the
beginning of the next history.

Run by itself this file tests the search: python3 history.py"""
import collections

NEVER = float("inf")
MAX_STEPS = 400000

# What an operation does to the state, or demands of it. Writes carry the number of a Value.
PUT, DELETE, CREATE, SWAP = "put", "delete", "create", "swap"  # CREATE: if absent; SWAP: if ETag
GET, SEEN, PRESENT, OTHER, ABSENT = "get", "seen", "present", "other", "absent"
# GET saw number `value` (None: nothing); SEEN saw an ETag; PRESENT: a CREATE was refused;
# OTHER: a SWAP was refused; ABSENT: a SWAP found nothing.
WRITES = (PUT, DELETE, CREATE, SWAP)

Value = collections.namedtuple("Value", "etag text md5")  # text: in the metadata; md5: of the body


class Wrong(Exception):
    pass


class Op:
    __slots__ = ("kind", "key", "value", "etag", "start", "end", "who")

    def __init__(self, kind, key, value=None, etag=None, start=0, end=NEVER, who=""):
        self.kind, self.key, self.value, self.etag = kind, key, value, etag
        self.start, self.end, self.who = start, end, who

    def __str__(self):
        return "%6s..%-6s %-8s %-8s %s %s" % (
            self.start, "?" if self.end == NEVER else self.end, self.who, self.kind, self.value,
            (self.etag or "")[:8])


class History:
    def __init__(self):
        self.clock = 0
        self.ops = {}  # key -> [Op] in the order of their starts
        self.values = {}  # number -> Value
        self.state = {}  # key -> number, as the last check found it; no entry: absent
        self.n_acked = self.n_open = 0

    def tick(self):
        self.clock += 1
        return self.clock

    def begin(self, kind, key, value=None, etag=None, who=""):
        op = Op(kind, key, value, etag, self.tick(), NEVER, who)
        self.ops.setdefault(key, []).append(op)
        self.n_open += 1
        return op

    def end(self, op, kind=None, value=None, etag=None):
        """The answer came; kind: what it means, if not what was asked for."""
        op.end = self.tick()
        if kind is not None:
            op.kind, op.value, op.etag = kind, value, etag
        self.n_open -= 1
        self.n_acked += 1

    def drop(self, op):
        """It had no effect and told nothing: a read without an answer, a cut upload."""
        self.ops[op.key].remove(op)
        self.n_open -= 1

    def settle(self, found):
        """All is quiet, and this is what the keys are now (key -> number). Checks and begins anew."""
        for key in set(self.ops) | set(self.state) | set(found):
            ops = self.ops.get(key, [])
            last = Op(GET, key, found.get(key), None, self.tick(), self.tick(), "check")
            if not ops and self.state.get(key) != found.get(key):
                raise Wrong("%r was %s, is %s, and nobody touched it" % (
                    key, self.state.get(key), found.get(key)))
            if ops:
                explain(key, self.state.get(key), ops + [last], self.values)
        self.ops = {}
        self.state = {k: v for k, v in found.items() if v is not None}
        self.values = {n: self.values[n] for n in self.state.values()}


def step(op, state, values):
    """The state after op, or Wrong (the class, as a mark) if op cannot happen in this state."""
    if op.kind in (PUT, DELETE):
        return op.value
    if op.kind == CREATE:
        return op.value if state is None else Wrong
    if op.kind == ABSENT:
        return None if state is None else Wrong
    if op.kind == GET:
        return state if state == op.value else Wrong
    if op.kind == SEEN and op.etag is None:
        return None if state is None else Wrong
    if state is None:
        return Wrong
    etag = values[state].etag  # None: of a copy without an answer, could be any
    if op.kind == SWAP:
        return op.value if etag in (op.etag, None) else Wrong
    if op.kind == SEEN:
        return state if etag in (op.etag, None) else Wrong
    return state if op.kind == PRESENT or etag != op.etag else Wrong


def candidates(ops, base, done, state, values):
    """The undone operations that may come next: those that began before any undone one ended. One
    that changes nothing and fits is taken alone: that can never be a mistake."""
    limit = NEVER
    first = None  # the read that must come first, of those that do not fit yet
    found = []
    for i in range(base, len(ops)):
        op = ops[i]
        if op.start > limit:
            break
        if done >> i & 1:
            continue
        if op.end < limit:
            limit, first = op.end, op
        after = step(op, state, values)
        if after is not Wrong:
            if op.kind not in WRITES:
                return [(i, after)]
            found.append((i, after))
    # The likely ones last, for they are tried from the end.
    found.sort(key=lambda c: (c[1] == first.value if first.kind == GET else False, -ops[c[0]].end,
                              ops[c[0]].kind != DELETE))
    return found


def explain(key, state, ops, values):
    """An order of ops that begins in `state`, or raises Wrong."""
    needed = sum(1 << i for i, op in enumerate(ops) if op.end != NEVER)
    for op in ops:
        if op.kind == GET and op.value is not None and op.value not in values:
            raise Wrong("%r: number %s was never sent whole" % (key, op.value))
    seen, steps, deepest = set(), 0, (0, 0)
    stack = [(0, 0, 0, state)]
    while stack:
        depth, base, done, state = stack.pop()
        if needed & ~done == 0:
            return
        if (done, state) in seen:
            continue
        seen.add((done, state))
        steps += 1
        if steps > MAX_STEPS:
            raise Wrong("%r: no order found in %d steps" % (key, steps) + story(ops, deepest[1]))
        deepest = max(deepest, (depth, done))
        while done >> base & 1:
            base += 1
        for i, after in candidates(ops, base, done, state, values):
            stack.append((depth + 1, base, done | 1 << i, after))
    raise Wrong("%r: no order explains the answers" % key + story(ops, deepest[1]))


def story(ops, done):
    """The operations around where the search came to an end."""
    first = next((i for i in range(len(ops)) if not done >> i & 1), 0)
    lines = ["%s %s" % ("   " if done >> i & 1 else "-->", ops[i])
             for i in range(max(0, first - 12), min(len(ops), first + 25))]
    return "\n    start..end    client   what     number etag; --> could not be placed\n" + "\n".join(
        lines) + "\n    ... %d operations in all" % len(ops)


def self_test():
    values = {n: Value("e" + n, "", "") for n in "abcd"}

    def run(*rows, state=None):
        """Rows of (start, end, kind, value or ETag); True if some order explains them."""
        ops = []
        for start, end, kind, what in rows:
            by_etag = kind in (SEEN, OTHER)
            op = Op(kind, "k", None if by_etag else what, what if by_etag else None, start, end)
            if kind == SWAP:
                op.value, op.etag = what
            ops.append(op)
        try:
            explain("k", state, sorted(ops, key=lambda op: op.start), values)
        except Wrong:
            return False
        return True

    good = [
        run((1, 2, PUT, "a"), (3, 4, GET, "a")),
        run((1, 4, PUT, "a"), (2, 3, GET, None)),
        run((1, 4, PUT, "a"), (2, 3, GET, "a")),
        run((1, 9, PUT, "a"), (2, 8, PUT, "b"), (10, 11, GET, "a")),
        run((1, NEVER, PUT, "a"), (5, 6, GET, None), (7, 8, GET, "a")),
        run((1, NEVER, PUT, "a"), (5, 6, GET, None)),
        run((1, NEVER, DELETE, None), (5, 6, GET, "b"), (7, 8, SEEN, None), state="b"),
        run((1, 2, CREATE, "a"), (3, 4, PRESENT, None), (5, 6, DELETE, None), (7, 8, CREATE, "b")),
        run((1, 4, SWAP, ("b", "ea")), (2, 3, OTHER, "ec"), state="a"),
        run((1, NEVER, SWAP, ("b", "ea")), (2, 3, OTHER, "ea"), state="a"),
    ]
    bad = [
        run((1, 2, PUT, "a"), (3, 4, GET, None)),  # lost
        run((1, 2, PUT, "a"), (3, 4, PUT, "b"), (5, 6, GET, "a")),  # stale
        run((1, 2, GET, "a"), (3, 4, PUT, "a")),  # before it was sent
        run((1, 9, PUT, "a"), (2, 3, GET, "a"), (4, 5, GET, None)),  # there and gone again
        run((1, 2, PUT, "a"), (3, 4, DELETE, None), (5, 6, SEEN, "ea")),  # came back
        run((1, 2, DELETE, None), (3, NEVER, PUT, "c"), (4, 5, GET, "b"), state="b"),  # undone
        run((1, 5, CREATE, "a"), (2, 6, CREATE, "b")),  # both won
        run((1, 5, SWAP, ("b", "ea")), (2, 6, SWAP, ("c", "ea")), state="a"),  # both won
        run((1, 2, OTHER, "ea"), state="a"),  # refused for nothing
        run((1, 2, ABSENT, None), state="a"),
        run((1, 2, GET, "never-sent")),
    ]
    assert all(good), good
    assert not any(bad), bad
    print("%d histories that have an order, %d that have none" % (len(good), len(bad)))


if __name__ == "__main__":
    self_test()
