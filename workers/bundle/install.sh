#!/bin/sh
# Install Fabu from this bundle, upgrade to it, or go back, without the internet. As root or as any user:
#
#   sh install.sh [--prefix DIR] [--bin DIR] [--python PYTHON]
#   sh install.sh --back [--prefix DIR]
#
# Below the prefix (/opt/fabu; ~/.local/share/fabu for a user) stands one folder for each version, `current` and
# `previous` point at two of them, and BIN/fabu (/usr/local/bin; ~/.local/bin) at the current one. No data directory is
# ever touched.
set -eu
umask 022 # what root installs, the service's account must be able to read
unset PYTHONPATH PYTHONHOME

language=${FABU_LOCALE:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}}
say() {
    case $language in
    [Ee][Nn]*) printf '%s\n' "$2" ;;
    *) printf '%s\n' "$1" ;;
    esac
}
fail() {
    say "$@" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd -P)
if [ "$(id -u)" = 0 ]; then
    prefix=/opt/fabu bin=/usr/local/bin
else
    prefix=${HOME:?}/.local/share/fabu bin=$HOME/.local/bin
fi
pythons='python3 python3.13 python3.12 python3.11'
back=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --bin | --python)
        [ $# -gt 1 ] || fail "$1 后面缺少内容；未作任何改动。" "$1 lacks a value; nothing was changed."
        case $1 in --prefix) prefix=$2 ;; --bin) bin=$2 ;; --python) pythons=$2 ;; esac
        shift 2
        ;;
    --back) back=yes && shift ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" && exit ;;
    *) fail "没有“$1”这个选项；未作任何改动。用 --help 查看用法。" "There is no option $1; nothing was changed. See --help." ;;
    esac
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
versions=$prefix/versions

# Point a link elsewhere in one step: at every moment there is a whole version behind it.
point() {
    ln -s "$1" "$2.$$" && mv -Tf "$2.$$" "$2"
}
restart_hint() {
    say "如果 Fabu 正在运行，请重新启动才会换用这一版本，例如：systemctl restart fabu" \
        "If Fabu is running, restart it to have it use this version, such as: systemctl restart fabu"
}

# ── going back ───────────────────────────────────────────────────────────────────────────────────────────────────────
if [ -n "$back" ]; then
    [ -e "$prefix/previous" ] || fail "$prefix 中没有可以退回的上一版本；未作任何改动。" \
        "There is no previous version in $prefix to go back to; nothing was changed."
    old=$(readlink "$prefix/current") new=$(readlink "$prefix/previous")
    point "$new" "$prefix/current"
    point "$old" "$prefix/previous"
    say "已退回 ${new#versions/}（原为 ${old#versions/}；再运行一次 --back 可以换回来）。" \
        "Went back to ${new#versions/} (from ${old#versions/}; --back once more returns to it)."
    say "注意：台账如已由新版本升级，旧版本不能使用，须先恢复升级前的备份。" \
        "Note: a ledger that the newer version brought up to date cannot be used by the older one; restore the backup made before."
    restart_hint
    exit
fi

# ── is all well before anything is changed? ──────────────────────────────────────────────────────────────────────────
cd "$here"
sha256sum -c --quiet SHA256SUMS >&2 || fail \
    "安装包中有文件损坏或缺少（见上）；未作任何改动。请重新拷贝安装包并解压。" \
    "Files of this bundle are damaged or missing (see above); nothing was changed. Copy and unpack the bundle again."

machine=$(uname -m)
grep -q "^$machine " TARGETS || fail \
    "安装包不支持本机的处理器（$machine）；未作任何改动。支持：$(cut -d' ' -f1 TARGETS | sort -u | xargs)。" \
    "This bundle is not for this machine's processor ($machine); nothing was changed. It is for: $(cut -d' ' -f1 TARGETS | sort -u | xargs)."
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo none)
minor=${libc#glibc 2.}
case $minor in '' | *[!0-9]*) minor=0 ;; esac
[ "$minor" -ge 28 ] || fail \
    "需要 glibc 2.28 或更高版本，本机是：$libc；未作任何改动。请换用较新的系统，例如 Debian 10、openEuler 20.03 以后的版本。" \
    "glibc 2.28 or later is needed, this machine has: $libc; nothing was changed. Use a newer system, such as Debian 10 or openEuler 20.03 and later."

supported=$(sed -n "s/^$machine //p" TARGETS | xargs)
python=
for candidate in $pythons; do
    # A 32-bit or a free-threaded Python, or one that is not CPython, cannot use the wheels.
    version=$("$candidate" -c '
import platform, sys, sysconfig, venv
fits = platform.python_implementation() == "CPython" and sys.maxsize > 2**32
print("%d.%d" % sys.version_info[:2] if fits and not sysconfig.get_config_var("Py_GIL_DISABLED") else "")
' 2>/dev/null) || continue
    if grep -qx "$machine $version" TARGETS; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail \
    "没有找到可用的 Python（支持 $supported，需带 venv 模块）；未作任何改动。请先安装，例如：apt install python3 python3-venv，或 dnf install python3.11；装在别处的用 --python 指定。" \
    "No Python that can be used was found (supported: $supported, with its module venv); nothing was changed. Install one first, such as: apt install python3 python3-venv, or: dnf install python3.11; name one that is elsewhere with --python."

[ ! -e "$prefix/fabu.toml" ] || fail \
    "$prefix 是数据目录，程序不能装在里面；未作任何改动。请用 --prefix 指定别的位置。" \
    "$prefix is a data directory, the program must not lie in it; nothing was changed. Name another place with --prefix."
if [ -d "$prefix" ] && [ ! -d "$versions" ] && [ -n "$(ls -A "$prefix")" ]; then
    fail "$prefix 中已有别的文件；未作任何改动。请用 --prefix 指定别的位置。" \
        "There are other files in $prefix; nothing was changed. Name another place with --prefix."
fi
mkdir -p "$versions" 2>/dev/null && [ -w "$versions" ] && [ -w "$prefix" ] || fail \
    "不能写入 $prefix；未作任何改动。请以 root 运行，或用 --prefix 指定别的位置。" \
    "$prefix cannot be written to; nothing was changed. Run this as root, or name another place with --prefix."

# ── installing ───────────────────────────────────────────────────────────────────────────────────────────────────────
id=$(cat VERSION)-$(sha256sum SHA256SUMS | cut -c1-8)
new=$versions/$id
if [ ! -e "$new/complete" ]; then
    say "正在安装 $id（Python $version）……" "Installing $id (Python $version) …"
    give_up() {
        rm -rf "$new" # half a version is none
        fail "安装没有完成（原因见上）；原来的版本没有改动。排除原因后再运行一次即可。" \
            "The installation was not finished (see above); what was installed before is unchanged. Remove the cause and run this again."
    }
    trap give_up EXIT
    trap 'exit 1' HUP INT TERM
    rm -rf "$new"
    "$python" -m venv --without-pip "$new"
    # No configuration of pip, of this user or this machine, turns it elsewhere.
    pip=$(echo wheels/pip-*.whl)
    PIP_CONFIG_FILE=/dev/null "$new/bin/python" "$pip/pip" --isolated --quiet --disable-pip-version-check \
        install --no-index --find-links wheels --no-cache-dir --only-binary :all: --require-hashes -r requirements.txt
    "$new/bin/fabu" --help >/dev/null
    mkdir -p "$new/share/fabu"
    cp -R install.sh LICENSE README.md README.zh-CN.md docs "$new/share/fabu"
    : >"$new/complete"
    trap - EXIT HUP INT TERM
fi

old=$(readlink "$prefix/current" || true)
if [ "$old" != "versions/$id" ]; then
    [ -z "$old" ] || point "$old" "$prefix/previous"
    point "versions/$id" "$prefix/current"
fi
kept=$(readlink "$prefix/previous" || true)
running=$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n')
for each in "$versions"/*; do # older ones go, except where something still runs from
    case versions/${each##*/} in "versions/$id" | "$kept") continue ;; esac
    case $running in *"$each/"*) continue ;; esac
    rm -rf "$each"
done

if [ -e "$bin/fabu" ] || [ -L "$bin/fabu" ]; then
    found=$(readlink "$bin/fabu" || true)
else
    found=
    mkdir -p "$bin" && ln -s "$prefix/current/bin/fabu" "$bin/fabu" && found=$prefix/current/bin/fabu
fi
fabu=$bin/fabu
if [ "$found" != "$prefix/current/bin/fabu" ]; then
    fabu=$prefix/current/bin/fabu
    say "$bin/fabu 是别的程序，没有改动；请使用 $fabu" "$bin/fabu is something else and was left as it is; use $fabu"
else
    case :$PATH: in *":$bin:"*) fabu=fabu ;; esac
fi

say "已安装 $id，位于 $prefix。" "Installed $id in $prefix."
if [ -n "$old" ] && [ "$old" != "versions/$id" ]; then
    say "原来的版本是 ${old#versions/}；退回：sh $prefix/current/share/fabu/install.sh --back --prefix $prefix" \
        "It was ${old#versions/} before; to go back: sh $prefix/current/share/fabu/install.sh --back --prefix $prefix"
    restart_hint
elif [ -z "$old" ]; then
    say "下一步：$fabu service install --data /srv/fabu（开机自动运行），或 $fabu up --data 目录（试用）。" \
        "Next: $fabu service install --data /srv/fabu (runs from boot on), or: $fabu up --data DIR (to try it)."
    say "说明书：$prefix/current/share/fabu/docs/operations.md" "The manual: $prefix/current/share/fabu/docs/operations.md"
fi
