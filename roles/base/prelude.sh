# Shared by every script that rigwright runs on a rig. Lines that start with "::" are read by the controller:
# "::progress TEXT" is shown at once, "::error TEXT" is why the script failed.
set -eu
# What is made here can be read by the services, whatever umask root has.
umask 022
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
# A dropped connection must not stop a change half-way: without a reader, talk into the void and go on.
trap '' PIPE HUP
say() { printf '::progress %s\n' "$*" 2>/dev/null || :; }
why() { printf '::error %s\n' "$*" 2>/dev/null || :; }
fail() { why "$*"; exit 1; }
now() { read -r up _ </proc/uptime && echo "${up%.*}"; } # in seconds; no clock that is set changes it
# One change at a time on a rig, also while an orphan of a dropped connection is still at work.
lock() {
  [ -z "${RIGWRIGHT_LOCKED-}" ] || return 0 # by the script that this one is part of
  exec 9>>/run/rigwright.lock
  # Whoever can open it can hold it.
  chmod 600 /run/rigwright.lock
  if flock -n 9; then return 0; fi # in a trap, bash takes a bare one for what failed before
  say "waiting for another run of rigwright on this rig"
  flock -w 900 9 || fail "another rigwright run holds /run/rigwright.lock; wait for it"
}
unlock() { exec 9>&-; }
# What a disk offers to an ordinary user, in bytes; the path need not exist yet.
free_bytes() {
  at=$1
  while [ ! -e "$at" ]; do at=$(dirname -- "$at"); done
  df -PB1 -- "$at" | awk 'END { print $4 }'
}
human() { awk -v n="$1" 'BEGIN { g = 1073741824; if (n + 0 >= g) printf "%.1f GiB", n / g; else printf "%.0f MiB", n / 1048576 }'; }
# shellcheck disable=SC3013 # dash, bash and busybox all have it
same() { [ "$1" -ef "$2" ]; }
# journal OPTION …: lines of the journal. What was said last may still be on its way there; where none is kept, nobody answers.
journal() {
  timeout 5 journalctl --sync >/dev/null 2>&1 || :
  journalctl -o cat --no-pager "$@" 2>/dev/null || :
}
# write FILE MODE: standard input becomes FILE in one step, on the disk before it has the name, never readable wider than
# MODE. A link that somebody laid where it is written is not followed.
write() {
  rm -f -- "$1.rigwright-new" && (umask 077 && set -C && cat >"$1.rigwright-new") && chmod "$2" "$1.rigwright-new" &&
    sync -- "$1.rigwright-new" && mv -fT -- "$1.rigwright-new" "$1"
}
# wanted_by TARGET UNIT: enabled. systemctl would read all units anew, by which containers lose their GPU; told not to, it
# calls each of them changed until somebody does.
wanted_by() {
  install -d -m 755 "/etc/systemd/system/$1.wants"
  ln -sfn -- "/etc/systemd/system/$2" "/etc/systemd/system/$1.wants/$2"
}
# transient OPTION … -- COMMAND …: systemd-run, and the words of the command arrive as they are; systemd would fill in ${…}.
transient() (
  is_command=
  for word; do
    shift
    if [ -n "$is_command" ]; then word=$(printf '%s.' "$word" | sed 's/\$/$$/g') word=${word%.}; fi
    [ "$word" != -- ] || is_command=yes
    set -- "$@" "$word"
  done
  systemd-run "$@" </dev/null
)
# walls: what a unit for strangers' bytes may not, a line of it each.
walls() {
  printf '%s\n' UMask=0022 NoNewPrivileges=yes CapabilityBoundingSet= AmbientCapabilities= PrivateUsers=yes \
    ProtectSystem=strict ProtectHome=tmpfs PrivateTmp=yes PrivateDevices=yes ProtectProc=invisible \
    ProtectClock=yes ProtectHostname=yes ProtectControlGroups=yes \
    ProtectKernelLogs=yes ProtectKernelModules=yes ProtectKernelTunables=yes \
    RestrictNamespaces=yes RestrictRealtime=yes RestrictSUIDSGID=yes \
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK' \
    RemoveIPC=yes KeyringMode=private LockPersonality=yes SystemCallArchitectures=native \
    SystemCallFilter=@system-service SystemCallFilter=~@privileged SystemCallErrorNumber=EPERM
}
# shut_in OPTION … -- COMMAND …: a transient unit for what strangers wrote or send; whose it is, the caller says. It has no
# capability and gains none, sees no home, no device and no process of others, and writes where a BindPaths= of the caller
# says. The proxies of this environment go with it in a file that root alone reads: they may hold a password, and a
# unit shows its own environment to everybody. So do the certificates that it names, of a proxy that looks inside say; a
# file of them in a home is shown to the unit alone.
shut_in() (
  proxies=/run/rigwright-proxies.$$
  for name in CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR GIT_SSL_CAINFO GIT_SSL_CAPATH; do
    eval "at=\${$name-}"
    # systemd cannot bind what has a quote in its path.
    case $at in *[\"\'\\]*) continue ;; /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*) ;; *) continue ;; esac
    [ -e "$at" ] || continue
    # Of the places that it hides, /home alone may be entered by others than root.
    set -- -p BindReadOnlyPaths="\"$at\":/home/rigwright-$name" "$@"
    eval "$name=/home/rigwright-$name"
  done
  for name in http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY \
    CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR GIT_SSL_CAINFO GIT_SSL_CAPATH; do
    eval "value=\${$name-}"
    [ -z "$value" ] || printf '%s="%s"\n' "$name" "$(printf %s "$value" | sed 's/[\\"$`]/\\&/g')"
  done | write "$proxies" 600
  own=$#
  IFS='
' && set -f
  for wall in $(walls); do set -- "$@" -p "$wall"; done
  unset IFS && set +f
  # The caller's own come last, and win.
  while [ "$own" -gt 0 ]; do
    word=$1 own=$((own - 1))
    shift
    set -- "$@" "$word"
  done
  transient -q --nice=5 -p Type=exec -p EnvironmentFile="$proxies" \
    "$@" && status=0 || status=$?
  rm -f "$proxies"
  exit "$status"
)
# follow UNIT: waits for a transient unit that outlives this connection; says what progress() prints when it changes.
follow() {
  shown=
  while case $(systemctl show -P ActiveState -- "$1") in active | activating | reloading | deactivating) true ;; *) false ;; esac; do
    now=$(progress 2>/dev/null || :)
    [ "$now" = "$shown" ] || { [ -z "$now" ] || say "$now"; shown=$now; }
    sleep 1
  done
}
