/* The AWS SDK for JavaScript, which sends the checksum of a stream behind it, in aws-chunked coding inside
 * HTTP chunks, without TLS, too.
 *
 * usage: node aws.js URL BUCKET */
"use strict";
const fs = require("fs");
const { MIB, NAMES, SEGMENTS, CONTROLS, content, expect, fail, md5, run, sorted, stream } = require("./common.js");
const s3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const [endpoint, Bucket] = process.argv.slice(2);
const client = (secretAccessKey) => new s3.S3Client({
    endpoint, region: "us-east-1", forcePathStyle: true, maxAttempts: 1,
    credentials: { accessKeyId: "ADMIN", secretAccessKey },
});
const c = client("adminsecret");
const send = (name, arguments_) => c.send(new s3[name + "Command"]({ Bucket, ...arguments_ }));
const read = async (Key, more) => Buffer.from(await (await send("GetObject", { Key, ...more })).Body.transformToByteArray());
const ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

async function refused(name, code, arguments_) {
    try {
        await send(name, arguments_);
    } catch (error) {
        expect(`${name}: ${error.message}`, error.name, code);
        return;
    }
    fail(`${name} was not refused`);
}

async function listed(Prefix) {
    const keys = [];
    for await (const page of s3.paginateListObjectsV2({ client: c, pageSize: 7 }, { Bucket, Prefix, EncodingType: "url" })) {
        for (const entry of page.Contents || []) {
            keys.push(decodeURIComponent(entry.Key.replaceAll("+", " ")));
        }
    }
    return keys;
}

async function names() {
    const all = [...NAMES, ...SEGMENTS, ...CONTROLS];
    for (const Key of all) {
        const body = content(Key, 1000);
        await send("PutObject", { Key, Body: body, Metadata: { double: "two  spaces" } });
        const got = await send("GetObject", { Key });
        expect(`body of ${Key}`, Buffer.from(await got.Body.transformToByteArray()), body);
        expect(`metadata of ${Key}`, got.Metadata, { double: "two  spaces" });
        expect(`range of ${Key}`, await read(Key, { Range: "bytes=5-9" }), body.subarray(5, 10));
        const copy = `c/${Key}`.slice(0, 1024);
        await send("CopyObject", { Key: copy, CopySource: `${Bucket}/${encodeURIComponent(Key)}` });
        expect(`copy of ${Key}`, await read(copy), body);
    }
    expect("listed", await listed("c/"), sorted(all.map((name) => `c/${name}`.slice(0, 1024))));
    const many = (await listed("")).filter((key) => !/[\r\x01\x07]/.test(key));
    const answer = await send("DeleteObjects", { Delete: { Objects: many.map((Key) => ({ Key })) } });
    expect("deleted", sorted(answer.Deleted.map((entry) => entry.Key)), sorted(many));
    for (const Key of await listed("")) {
        await send("DeleteObject", { Key });
    }
    expect("left", await listed(""), []);
    return `${all.length} names of every kind go there and back`;
}

/* A body of each kind with each algorithm: in the head for what is in memory, else behind the body. */
async function bodies() {
    for (const size of [0, 1, 65536, 3 * MIB + 1]) {
        const body = content("body", size);
        fs.writeFileSync("file", body);
        for (const ChecksumAlgorithm of ALGORITHMS) {
            const kinds = {
                buffer: { Body: body },
                file: { Body: fs.createReadStream("file") },
                stream: { Body: stream(body), ContentLength: size },
            };
            for (const [kind, arguments_] of Object.entries(kinds)) {
                const what = `${size} bytes, ${kind}, ${ChecksumAlgorithm}`;
                const field = `Checksum${ChecksumAlgorithm}`;
                const put = await send("PutObject", { Key: "body", ChecksumAlgorithm, ...arguments_ });
                expect(`ETag of ${what}`, put.ETag, `"${md5(body)}"`);
                const head = await send("HeadObject", { Key: "body", ChecksumMode: "ENABLED" });
                expect(`sum of ${what}`, head[field], put[field]);
                expect(`coding of ${what}`, head.ContentEncoding, undefined);
                expect(what, await read("body"), body);
                if (!put[field]) {
                    fail(`${what}: no checksum comes back`);
                }
            }
        }
    }
    return "buffers, files and streams with each checksum, before or behind the body";
}

async function wrong() {
    await refused("PutObject", "BadDigest", { Key: "bad", Body: "abc", ChecksumCRC32: "AAAAAA==" });
    await refused("PutObject", "BadDigest", { Key: "bad", Body: "abc", ContentMD5: md5("abd", "base64") });
    /* Behind the body: bytes change after the SDK has begun to count them. */
    c.middlewareStack.add((next) => async (args) => {
        args.request.headers["x-amz-trailer"] = "x-amz-checksum-sha1";
        return next(args);
    }, { step: "build", name: "otherTrailer", priority: "low" });
    await refused("PutObject", "MalformedTrailerError", { Key: "bad", Body: stream(Buffer.from("abc")), ContentLength: 3 });
    c.middlewareStack.remove("otherTrailer");
    await refused("HeadObject", "NotFound", { Key: "bad" });
    await refused("GetObject", "NoSuchKey", { Key: "bad" });
    try {
        await client("wrong").send(new s3.ListObjectsV2Command({ Bucket }));
        fail("a wrong password is let in");
    } catch (error) {
        expect("a wrong password", error.name, "SignatureDoesNotMatch");
    }
    return "wrong checksums, trailers and passwords are refused and nothing is stored";
}

async function uploads() {
    const body = content("upload", 13 * MIB + 5);
    for (const ChecksumAlgorithm of [undefined, ...ALGORITHMS]) {
        for (const [kind, Body] of [["buffer", body], ["stream", stream(body)]]) {
            const what = `${kind} with ${ChecksumAlgorithm}`;
            const upload = new Upload({
                client: c, partSize: 5 * MIB, queueSize: 3,
                params: { Bucket, Key: "in parts", Body, ChecksumAlgorithm, ContentType: "image/x-raw" },
            });
            const done = await upload.done();
            expect(`ETag of ${what}`, done.ETag.endsWith('-3"'), true);
            const head = await send("HeadObject", { Key: "in parts", ChecksumMode: "ENABLED" });
            const field = `Checksum${ChecksumAlgorithm || "CRC32"}`;
            expect(`type of ${what}`, [head.ContentType, head.ContentLength], ["image/x-raw", body.length]);
            expect(`sum of ${what}`, head[field], done[field]);
            if (!head[field]) {
                fail(`${what}: no checksum comes back`);
            }
            expect(what, await read("in parts"), body);
            expect(`part of ${what}`, await read("in parts", { PartNumber: 2 }), body.subarray(5 * MIB, 10 * MIB));
            expect(`bytes of ${what}`, await read("in parts", { Range: `bytes=${5 * MIB - 3}-${10 * MIB + 3}` }),
                body.subarray(5 * MIB - 3, 10 * MIB + 4));
        }
    }
    const given = new Upload({ client: c, partSize: 5 * MIB, params: { Bucket, Key: "never", Body: stream(body) } });
    given.on("httpUploadProgress", () => given.abort());
    await given.done().then(() => fail("an upload that was given up is there"), () => 0);
    await refused("HeadObject", "NotFound", { Key: "never" });
    for (const { Key, UploadId } of (await send("ListMultipartUploads", {})).Uploads || []) {
        /* abort() does not wait for its own. */
        await send("AbortMultipartUpload", { Key, UploadId }).catch((error) => expect("abort", error.name, "NoSuchUpload"));
    }
    expect("uploads left", (await send("ListMultipartUploads", {})).Uploads, undefined);
    return "Upload of buffers and streams of unknown length with each checksum; one that is given up";
}

async function changes() {
    await send("PutObject", { Key: "once", Body: "1", IfNoneMatch: "*" });
    await refused("PutObject", "PreconditionFailed", { Key: "once", Body: "2", IfNoneMatch: "*" });
    const { ETag } = await send("HeadObject", { Key: "once" });
    await send("PutObject", { Key: "once", Body: "3", IfMatch: ETag });
    await refused("PutObject", "PreconditionFailed", { Key: "once", Body: "4", IfMatch: ETag });
    await refused("GetObject", "PreconditionFailed", { Key: "once", IfMatch: ETag });
    expect("kept", await read("once"), Buffer.from("3"));
    await refused("PutObjectTagging", "NotImplemented", { Key: "once", Tagging: { TagSet: [{ Key: "a", Value: "b" }] } });
    return "conditional writes and reads; tags are refused";
}

async function links() {
    for (const Key of ["plain", "a b+c%d/\u00e9'()*!"]) {
        const put = await getSignedUrl(c, new s3.PutObjectCommand({ Bucket, Key, Metadata: { a: "b c" } }), { expiresIn: 60 });
        const answer = await fetch(put, { method: "PUT", body: "by link" });
        expect(`PUT by link: ${answer.ok ? "" : await answer.text()}`, answer.status, 200);
        const get = await getSignedUrl(c, new s3.GetObjectCommand({ Bucket, Key, ResponseContentType: "a/b" }), { expiresIn: 60 });
        const got = await fetch(get);
        expect("GET by link", [await got.text(), got.headers.get("content-type"), got.headers.get("x-amz-meta-a")],
            ["by link", "a/b", "b c"]);
        expect("another method", (await fetch(get, { method: "DELETE" })).status, 403);
    }
    return "presigned PUT and GET";
}

run(`@aws-sdk/client-s3 ${require("@aws-sdk/client-s3/package.json").version}`, [names, bodies, wrong, uploads, changes, links]);
