#!/usr/bin/env bash
# Exercises: Debian's rclone with passwords: a tree of odd names and sizes up, checked, listed and down
# again, small chunks, streams of unknown length, server-side copies of objects in parts, mtimes, links,
# a mount, both list versions in pages, signatures of version 2, deletes, unfinished uploads; and that the
# server refused nothing on the way but what must be.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"
export RCLONE_CONFIG=$WORK/rclone.conf RCLONE_NO_UNICODE_NORMALIZATION=true RCLONE_LOW_LEVEL_RETRIES=1 \
    RCLONE_RETRIES=1 RCLONE_S3_UPLOAD_CUTOFF=5M RCLONE_S3_CHUNK_SIZE=5M
client rclone "$(rclone version | sed -n "1s/rclone v\([0-9.]*\).*/\1/p")"

# Before lib.sh removes $WORK nothing may be mounted below it.
end_mount()
{
    local code=$?
    umount -l "$WORK/mnt" 2>/dev/null
    return $code
}
trap 'end_mount; cleanup' EXIT

# z is how the README says it; o is what people do who do not read it.
configure_rclone()
{
    for remote in "z Minio" "o Other"; do
        printf '[%s]\ntype = s3\nprovider = %s\nendpoint = %s\naccess_key_id = %s\nsecret_access_key = %s\n' \
            $remote "$SERVER_URL" "$1" "$2"
    done >"$RCLONE_CONFIG"
}

times()
{
    (cd "$1" && find . -type f -printf '%P %T@\0' | sort -z | tr '\0\n' '\n_')
}

new_store rclone
start_signed "$STORE" -bs 4000000
configure_rclone ADMIN wrong
must_not '*SignatureDoesNotMatch*' rclone lsf z:bucket
configure_rclone NOBODY adminsecret
must_not '*InvalidAccessKeyId*' rclone lsf z:bucket
configure_rclone READER readersecret
must rclone lsf z:bucket
must_not '*AccessDenied*' rclone touch z:bucket/new
expect_refusals "GET bucket 403
HEAD object 404
PUT bucket 403"
configure_rclone ADMIN adminsecret
ok "rclone: a wrong secret, an unknown key and a reader who writes are told so"

make_tree "$WORK/src" 0 1 65536 5242879 5242880 5242881 30000000
must rclone sync "$WORK/src" z:bucket/tree
expect_stored tree/ "$WORK/src"
must rclone check --download "$WORK/src" z:bucket/tree
must rclone sync -v "$WORK/src" z:bucket/tree
expect_match "a second sync" "$(cat "$WORK/said")" "*nothing to transfer*"
must rclone copy z:bucket/tree "$WORK/back"
expect_files "$WORK/src" "$WORK/back"
expect_eq "times" "$(times "$WORK/back")" "$(times "$WORK/src")"
expect_eq "MD5s" "$(rclone md5sum z:bucket/tree | sort)" "$(rclone md5sum "$WORK/src" | sort)"
expect_eq "lsjson" "$(rclone lsjson -R --files-only z:bucket/tree | grep -c '"IsDir":false')" "$n_stored"
must rclone lsd z:
expect_match "lsd" "$(cat "$WORK/said")" "* bucket"
expect_refusals "HEAD object 404"
ok "rclone sync, check --download, copy, md5sum, lsjson, lsd: $n_stored files of odd names, up to 30 MB, and their times"

rclone cat z:bucket/tree/size/30000000 | rclone rcat z:bucket/stream --streaming-upload-cutoff 0 2>"$WORK/said" || fail "rcat: $(cat "$WORK/said")"
rclone cat z:bucket/stream | cmp - "$WORK/src/size/30000000" || fail "rcat: another file"
rclone cat z:bucket/stream --offset 5242000 --count 11000000 |
    cmp - <(tail -c +5242001 "$WORK/src/size/30000000" | head -c 11000000) || fail "a range across parts"
must rclone copyto z:bucket/stream "$WORK/threads" --multi-thread-cutoff 1M --multi-thread-streams 4
cmp "$WORK/threads" "$WORK/src/size/30000000" || fail "copy by four threads"
must rclone copyto z:bucket/stream "z:bucket/a+b %41 copy"
must rclone moveto z:bucket/stream z:bucket/parts --s3-copy-cutoff 6M
for name in "a+b %41 copy" parts; do
    rclone cat "z:bucket/$name" | cmp - "$WORK/src/size/30000000" || fail "$name: another file"
done
expect_eq "what was moved" "$(rclone cat z:bucket/stream)" ""
must rclone move z:bucket/tree/in z:bucket/moved/in
must rclone move z:bucket/moved/in z:bucket/tree/in
must rclone touch -t 2001-02-03T04:05:06 "z:bucket/a+b %41 copy"
expect_match "time after touch" "$(rclone lsl z:bucket --include "a+b*")" "*2001-02-03 04:05:06*"
must rclone copyto "$WORK/src/plain" z:bucket/headers --header-upload "Cache-Control: no-store" \
    --header-upload "Content-Disposition: attachment" --header-upload "Content-Encoding: gzip"
expect_match "metadata" "$(rclone lsjson --metadata --stat z:bucket/headers)" \
    '*"cache-control": "no-store"*"content-disposition": "attachment"*"content-encoding": "gzip"*'
expect_stored tree/ "$WORK/src"
expect_refusals "HEAD object 404"
ok "rclone rcat, cat of ranges, by threads, copyto, moveto in parts, move of a tree, touch, headers"

for name in plain "a+b c" "?x=y" café "back\\slash"; do
    link=$(rclone link --expire 5m "z:bucket/tree/$name") || fail "link"
    curl -sSf "$link" | cmp - "$WORK/src/$name" || fail "what is behind the link to $name"
done
expect_eq "a link that was changed" "$(http "${link/slash/slosh}")" 403
ok "rclone link: URLs that need no password"

mkdir "$WORK/mnt"
rclone mount z:bucket "$WORK/mnt" --vfs-cache-mode writes --vfs-write-back 0s --cache-dir "$WORK/rclone-cache" \
    >"$WORK/rclone.log" 2>&1 &
mounted=$!
wait_for 20 mountpoint -q "$WORK/mnt" || fail "rclone mount: $(cat "$WORK/rclone.log")"
make_tree "$WORK/small" 0 1 5242881
must cp -r "$WORK/small" "$WORK/mnt/fuse"
expect_files "$WORK/small" "$WORK/mnt/fuse"
for top in "$WORK/small" "$WORK/mnt/fuse"; do
    mv "$top/in/a+b c" "$top/in/moved" && printf more >>"$top/size/5242881" && rm "$top/plain" &&
        truncate -s 5 "$top/100%" || fail "changes in $top"
done
must umount "$WORK/mnt"
wait "$mounted" || fail "rclone mount: $(cat "$WORK/rclone.log")"
expect_stored fuse/ "$WORK/small"
ok "rclone mount: a tree, moved, appended, cut"

make_tree -xml "$WORK/mild" 0 1 5242881
for version in 1 2; do
    options=(--s3-list-version "$version" --s3-list-chunk 7)
    must rclone copy "${options[@]}" "$WORK/mild" "o:bucket/v$version/"
    must rclone check --download "${options[@]}" "$WORK/mild" "o:bucket/v$version/"
    must rclone check --download "${options[@]}" --fast-list "$WORK/mild" "z:bucket/v$version/"
done
must rclone sync --s3-v2-auth "$WORK/mild" o:bucket/old/
must rclone check --s3-v2-auth --download "$WORK/mild" o:bucket/old/
expect_stored old/ "$WORK/mild"
must_not '*SignatureDoesNotMatch*' env RCLONE_S3_SECRET_ACCESS_KEY=wrong rclone lsf --s3-v2-auth o:bucket
ok "rclone with other settings: both list versions in pages of 7, --fast-list, --s3-v2-auth"

must rclone mkdir z:another
must rclone copy z:bucket/fuse z:another/fuse
must rclone check --download z:bucket/fuse z:another/fuse
must rclone copyto z:bucket/parts z:another/parts --s3-copy-cutoff 6M
rclone cat z:another/parts | cmp - "$WORK/src/size/30000000" || fail "a copy to another bucket"
expect_eq "buckets" "$(rclone lsf z: | sort | tr '\n' ' ')" "another/ bucket/ "
must_not "*BucketNotEmpty*" rclone rmdir z:another
must rclone purge z:another
expect_eq "buckets after purge" "$(rclone lsf z:)" "bucket/"
expect_refusals "DELETE bucket 409
GET bucket 403
GET object 403
HEAD object 404"
ok "rclone mkdir, copies between buckets, rmdir, purge of a bucket"

must rclone delete z:bucket/v1 --include "size/*"
expect_eq "after delete" "$(rclone lsf z:bucket/v1/size)" ""
must rclone purge z:bucket/v2
must rclone delete --rmdirs z:bucket/tree
expect_kept v2/ 0
expect_kept tree/ 0
mkfifo "$WORK/pipe"
rclone rcat z:bucket/unfinished --streaming-upload-cutoff 0 <"$WORK/pipe" >"$WORK/said" 2>&1 &
sender=$!
exec 9>"$WORK/pipe"
head -c 23000000 /dev/zero >&9
part_is_there()
{
    grep -q 'PUT "/bucket/unfinished?partNumber=3&.*" 200 ' "$SERVER_LOG"
}
wait_for 20 part_is_there || fail "no part is uploaded"
kill -9 "$sender"
wait "$sender" 2>/dev/null
exec 9>&-
uploads()
{
    rclone backend list-multipart-uploads z:bucket | grep -c '"UploadId"'
}
expect_eq "unfinished uploads" "$(uploads)" 1
must rclone cleanup z:bucket
expect_eq "unfinished uploads of less than a day" "$(uploads)" 1
must rclone backend cleanup -o max-age=1ns z:bucket
expect_eq "unfinished uploads after cleanup" "$(uploads)" 0
ok "rclone delete, purge, and what a killed one left behind is listed and cleaned up"
expect_refusals "HEAD object 404"
stop_server
expect_eq "exit code" "$STATUS" 0
