/* What the tests of clients in JavaScript share: names of every kind, made-up bytes, and how they fail. */
"use strict";
const crypto = require("crypto");
const { Readable } = require("stream");

exports.MIB = 1 << 20;
exports.NAMES = [
    "plain", "with space", "two  spaces", " in front", "behind ", "+", "a+b c", "100%", "%41", "a%2Fb%20c", "%",
    "a&b=c;d", "?x=y", "#hash", "quote'\"`", "back\\slash", "<xml>&amp;]]>", "$HOME", "*[!a]{b,c}?", "~tilde",
    "(a)!*'", "@:,;|^", "-rf", "...", ".hidden", "caf\u00e9", "cafe\u0301", "\u65e5\u672c\u8a9e", "\u{1f4be}",
    "\u00a0nbsp", "\u202eright to left", "a//b", "behind/", "x".repeat(1024),
];
/* What not every client can say. */
exports.SEGMENTS = ["/in front", "//", "./a", "a/../b", ".."];
exports.CONTROLS = ["tab\there", "line\nfeed", "return\rhere", "bell\x07", "\x01", "delete\x7f", "\u0085"];

/* Others for each name, and never the same twice in a row. */
exports.content = (name, size) => {
    const key = crypto.createHash("md5").update(name).digest();
    return crypto.createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(size));
};

exports.md5 = (data, form) => crypto.createHash("md5").update(data).digest(form || "hex");

/* A stream that does not know its length, in odd pieces. */
exports.stream = (data) => Readable.from((function* () {
    for (let at = 0, n = 1; at < data.length; at += n, n = (n * 7) % 100003 + 1) {
        yield data.subarray(at, at + n);
    }
})(), { objectMode: false });

exports.drain = async (stream) => {
    const pieces = [];
    for await (const piece of stream) {
        pieces.push(piece);
    }
    return Buffer.concat(pieces);
};

exports.fail = (text) => {
    throw new Error(text);
};

exports.expect = (what, got, wanted) => {
    const same = Buffer.isBuffer(wanted) ? wanted.equals(got) : JSON.stringify(got) === JSON.stringify(wanted);
    if (!same) {
        exports.fail(`${what}: got ${String(JSON.stringify(got)).slice(0, 300)}, ` +
            `wanted ${String(JSON.stringify(wanted)).slice(0, 300)}`);
    }
};

/* The order of S3's lists. */
exports.sorted = (names) => [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

/* Runs the tests one after the other; each is one thing shown. */
exports.run = async (client, tests) => {
    for (const test of tests) {
        try {
            console.log(`ok - ${client}: ${await test()}`);
        } catch (error) {
            console.error(`FAILED: ${client}: ${test.name}:`, error);
            process.exit(1);
        }
    }
    process.exit(0); /* whatever connections are still open */
};
