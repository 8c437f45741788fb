/* MinIO's client for JavaScript.
 *
 * usage: node minio.js HOST:PORT BUCKET */
"use strict";
const fs = require("fs");
const { MIB, NAMES, content, drain, expect, fail, md5, run, sorted, stream } = require("./common.js");
const minio = require("minio");

const [address, bucket] = process.argv.slice(2);
const client = (secretKey) => new minio.Client({
    endPoint: address.split(":")[0], port: Number(address.split(":")[1]), useSSL: false, partSize: 5 * MIB,
    accessKey: "ADMIN", secretKey,
});
const c = client("adminsecret");
const read = async (key) => drain(await c.getObject(bucket, key));

async function refused(what, code, promise) {
    try {
        await promise;
    } catch (error) {
        expect(`${what}: ${error.message}`, error.code, code);
        return;
    }
    fail(`${what} was not refused`);
}

async function entries(list) {
    const all = [];
    for await (const entry of list) {
        all.push(entry);
    }
    return all;
}

async function names() {
    for (const key of NAMES) {
        const body = content(key, 1000);
        const put = await c.putObject(bucket, key, body, body.length, { "X-Amz-Meta-Double": "two  spaces" });
        expect(`ETag of ${key}`, put.etag, md5(body));
        expect(`body of ${key}`, await read(key), body);
        const stat = await c.statObject(bucket, key);
        expect(`what is said of ${key}`, [stat.size, stat.etag, stat.metaData.double], [1000, md5(body), "two  spaces"]);
        expect(`bytes of ${key}`, await drain(await c.getPartialObject(bucket, key, 5, 5)), body.subarray(5, 10));
    }
    for (const list of ["listObjects", "listObjectsV2"]) {
        expect(list, (await entries(c[list](bucket, "", true))).map((entry) => entry.name), sorted(NAMES));
    }
    const folders = (await entries(c.listObjectsV2(bucket, "a", false))).map((entry) => entry.prefix || entry.name);
    expect("with folders", sorted(folders), ["a%2Fb%20c", "a&b=c;d", "a+b c", "a/"]);
    await c.removeObject(bucket, NAMES[0]);
    await c.removeObjects(bucket, NAMES.slice(1));
    expect("left", (await entries(c.listObjectsV2(bucket, "", true))).length, 0);
    return `${NAMES.length} names of every kind go there and back, lists, removeObjects`;
}

async function parts() {
    const body = content("parts", 12 * MIB + 9);
    fs.writeFileSync("file", body);
    await c.putObject(bucket, "buffer", body);
    await c.putObject(bucket, "known", stream(body), body.length);
    await c.putObject(bucket, "unknown", stream(body));
    await c.putObject(bucket, "empty", stream(Buffer.alloc(0)), 0);
    await c.fPutObject(bucket, "file", "file", { "Content-Type": "image/x-raw" });
    for (const key of ["buffer", "known", "unknown", "file"]) {
        expect(key, await read(key), body);
    }
    expect("empty", await read("empty"), Buffer.alloc(0));
    expect("type", (await c.statObject(bucket, "file")).metaData["content-type"], "image/x-raw");
    await c.fGetObject(bucket, "file", "got");
    expect("fGetObject", fs.readFileSync("got"), body);
    return "putObject of buffers and streams, fPutObject, fGetObject in parts";
}

async function copies() {
    const body = await read("file");
    const conditions = new minio.CopyConditions();
    conditions.setMatchETag((await c.statObject(bucket, "file")).etag);
    await c.copyObject(bucket, "copy", `/${bucket}/file`, conditions);
    expect("copy", await read("copy"), body);
    conditions.setMatchETag("0".repeat(32));
    await refused("a copy of something else", "PreconditionFailed", c.copyObject(bucket, "never", `/${bucket}/file`, conditions));
    const source = (Object_, more) => new minio.CopySourceOptions({ Bucket: bucket, Object: Object_, ...more });
    await c.composeObject(new minio.CopyDestinationOptions({ Bucket: bucket, Object: "composed" }),
        [source("file", { MatchRange: true, Start: 0, End: 6 * MIB }), source("known")]);
    expect("composed", await read("composed"), Buffer.concat([body.subarray(0, 6 * MIB + 1), body]));
    await refused("a key that is not there", "NoSuchKey", read("never"));
    await refused("a key that is not there", "NotFound", c.statObject(bucket, "never"));
    return "copyObject with conditions, composeObject";
}

async function incomplete() {
    const id = await c.initiateNewMultipartUpload(bucket, "begun", {});
    const found = await entries(c.listIncompleteUploads(bucket, "", true));
    expect("begun", found.map((entry) => [entry.key, entry.uploadId]), [["begun", id]]);
    await c.removeIncompleteUpload(bucket, "begun");
    expect("left", await entries(c.listIncompleteUploads(bucket, "", true)), []);
    return "listIncompleteUploads, removeIncompleteUpload";
}

async function links() {
    const key = "a b+c%d/\u00e9";
    const put = await c.presignedPutObject(bucket, key, 60);
    expect("PUT by link", (await fetch(put, { method: "PUT", body: "by link" })).status, 200);
    const get = await c.presignedGetObject(bucket, key, 60, { "response-content-type": "a/b" });
    const got = await fetch(get);
    expect("GET by link", [await got.text(), got.headers.get("content-type")], ["by link", "a/b"]);
    return "presigned PUT and GET";
}

/* What is not offered says so. */
async function others() {
    const policy = c.newPostPolicy();
    policy.setBucket(bucket);
    policy.setKey("form");
    policy.setExpires(new Date(Date.now() + 60000));
    const { postURL, formData } = await c.presignedPostPolicy(policy);
    const form = new FormData();
    for (const [name, value] of Object.entries(formData)) {
        form.append(name, value);
    }
    form.append("file", new Blob(["by form"]), "form");
    const answer = await fetch(postURL, { method: "POST", body: form });
    expect(`POST by form: ${await answer.text()}`, answer.status, 403); /* signed in a field, where nobody looks */
    await refused("what a form would have made", "NotFound", c.statObject(bucket, "form"));
    await refused("notifications", "NotImplemented", c.getBucketNotification(bucket));
    await refused("tags", "NotImplemented", c.setObjectTagging(bucket, "file", { a: "b" }));
    await refused("versions", "NotImplemented", c.setBucketVersioning(bucket, { Status: "Enabled" }));
    await refused("a policy", "NoSuchBucketPolicy", c.getBucketPolicy(bucket));
    expect("tags", await c.getObjectTagging(bucket, "file"), []);
    expect("exists", [await c.bucketExists(bucket), await c.bucketExists("no-such-bucket")], [true, false]);
    expect("buckets", (await c.listBuckets()).map((b) => b.name).includes(bucket), true);
    await refused("a wrong password", "SignatureDoesNotMatch", client("wrong").listBuckets());
    return "forms, notifications, tags and versions are refused; buckets; a wrong password";
}

run(`minio ${require("minio/package.json").version}`, [names, parts, copies, incomplete, links, others]);
