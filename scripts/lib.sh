# Sourced by the scripts here: which Debian packages are needed, and how they get onto the machine.
# Nothing is installed, and apt is not run, when everything is there already.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# To build the server and its tools. llhttp is a package from Debian 13 on; for Debian 12
# third_party/llhttp/fetch unpacks it.
build_packages="gcc libc6-dev meson ninja-build pkgconf libuv1-dev nanopb libnanopb-dev llhttp
 protobuf-compiler zlib1g-dev libsqlite3-dev libssl-dev libxxhash-dev libexpat1-dev"
llhttp_sources=$top/third_party/llhttp/debian/usr/share/llhttp/llhttp.c
# To build and run the unit tests.
unit_packages="libcmocka-dev python3"
# For the rest of the tests.
test_packages="git clang clang-format libclang-rt-dev curl openssl rsync rclone iproute2 strace systemd
 util-linux e2fsprogs fuse3 nbdkit libnbd-bin python3-fusepy eatmydata python3-boto3 s3cmd valgrind
 restic awscli s3fs duplicity faketime"
# For scripts/coverage -mcdc alone.
mcdc_packages="clang-19 llvm-19 libclang-rt-19-dev"

die()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# As root: through sudo only where that is needed.
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "this needs root, and sudo is not installed: $*"
        sudo -- "$@"
    fi
}

debian_version()
{
    (. /etc/os-release && printf '%s\n' "${VERSION_ID:-0}")
}

# With which duplicity signs by version 2; gone in Debian 13.
[ "$(debian_version)" != 12 ] || test_packages="$test_packages python3-boto"

# Prints those of the named packages that are not installed (in $admin_dir, or here).
missing_packages()
{
    local name
    for name in "$@"; do
        [ "$(dpkg-query --admindir="${admin_dir:-/var/lib/dpkg}" -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            printf '%s\n' "$name"
    done
}

# install_packages NAME...: shows which of these are missing, then installs them.
install_packages()
{
    local missing unpack=
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        printf 'This is no Debian; needed are what Debian calls: %s\n' "$*" >&2
        return 0
    fi
    if [[ " $* " == *" llhttp "* ]]; then
        set -- $(printf '%s\n' "$@" | grep -vx llhttp)
        if [ "$(debian_version)" != 12 ]; then
            set -- "$@" libllhttp-dev
        elif [ ! -e "$llhttp_sources" ]; then
            unpack=yes
        fi
    fi
    missing=$(missing_packages "$@")
    if [ -z "$missing$unpack" ]; then
        return 0
    fi
    {
        if [ -n "$missing" ]; then
            printf 'These Debian packages are missing and will be installed%s:\n' \
                "$([ "$(id -u)" -eq 0 ] || echo ' (with sudo)')"
            printf '  %s\n' $missing
        fi
        if [ -n "$unpack" ]; then
            echo 'The sources of llhttp will be unpacked from package node-llhttp into third_party/llhttp/.'
        fi
    } >&2
    as_root apt-get -q update >&2 || die "apt-get update failed"
    if [ -n "$missing" ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
            --no-install-recommends install $missing >&2 || die "apt-get install failed"
    fi
    if [ -n "$unpack" ]; then
        "$top/third_party/llhttp/fetch" >&2 || die "llhttp could not be unpacked"
    fi
}

# The mirror this system uses, so that a local one is used here too; nothing if it is not plain.
mirror()
{
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk '$2 == "Debian" && $1 ~ /^https?:/ && $1 !~ /security/ {print $1; exit}'
}

# configure DIR MESON-OPTION...: sets DIR up for a build of this tree. The options count the first time
# only. meson looks for files when it configures, so it does again when there are others.
configure()
{
    local dir=$1 files
    shift
    files=$(cd "$top" && find src proto test third_party -name '*.[ch]' -o -name '*.proto' | sort)
    if [ ! -e "$dir/build.ninja" ]; then
        meson setup "$dir" "$top" --buildtype=debugoptimized "$@"
    elif [ "$files" != "$(cat "$dir/files" 2>/dev/null)" ]; then
        meson setup --reconfigure "$dir" "$top"
    fi && printf '%s\n' "$files" >"$dir/files"
}
