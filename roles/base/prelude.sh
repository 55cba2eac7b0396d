# Shared by every script that rigwright runs on a rig. Lines that start with "::" are read by the controller:
# "::progress TEXT" is shown at once, "::error TEXT" is why the script failed.
set -eu
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
# A dropped connection must not stop a change half-way: without a reader, talk into the void and go on.
trap '' PIPE HUP
say() { printf '::progress %s\n' "$*" 2>/dev/null || :; }
why() { printf '::error %s\n' "$*" 2>/dev/null || :; }
fail() { why "$*"; exit 1; }
# One change at a time on a rig, also while an orphan of a dropped connection is still at work.
lock() { exec 9>/run/rigwright.lock; flock -w 900 9 || fail "another rigwright run holds /run/rigwright.lock; wait for it"; }
# What a disk offers to an ordinary user, in bytes; the path need not exist yet.
free_bytes() {
  at=$1
  while [ ! -e "$at" ]; do at=$(dirname -- "$at"); done
  df -PB1 -- "$at" | awk 'END { print $4 }'
}
human() { awk -v n="$1" 'BEGIN { g = 1073741824; if (n + 0 >= g) printf "%.1f GiB", n / g; else printf "%.0f MiB", n / 1048576 }'; }
# write FILE MODE: standard input becomes FILE in one step, never readable wider than MODE.
write() {
  umask 077
  cat >"$1.rigwright-new"
  chmod "$2" "$1.rigwright-new"
  mv -fT -- "$1.rigwright-new" "$1"
  umask 022
}
# follow UNIT: waits for a transient unit that outlives this connection; says what progress() prints when it changes.
follow() {
  shown=
  while case $(systemctl show -P ActiveState -- "$1") in active | activating | reloading) true ;; *) false ;; esac; do
    now=$(progress 2>/dev/null || :)
    [ "$now" = "$shown" ] || { [ -z "$now" ] || say "$now"; shown=$now; }
    sleep 1
  done
}
