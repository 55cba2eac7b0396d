# Runs on the rig in the unit that download.sh starts, which is nobody's: standard output is the part, config says where
# the file lies, $NEAR which other rigs have it or are getting it, the nearest first. Goes on where the part ends as long
# as some of it still comes. Tells standard error what came from where.
exec 3>&1
have() { stat -Lc %s /proc/self/fd/3; }
came() { # came FROM WHERE: since then
  now=$(have)
  [ "$now" -le "$1" ] || echo "came: $((now - $1)) bytes from $2" >&2
}
# is_whole STATUS: curl takes 416 for the end of a file that is continued, and what is shorter than it was for all of it.
is_whole() { [ "$1" = 0 ] && [ "$(have)" = "${SIZE:-$(have)}" ]; }
is_full() { # is_full STATUS: what is written is limited to what was announced, else to what the disk can take
  case $1 in 23 | 153) ;; *) return 1 ;; esac
  echo "curl: more came than was announced, or than the disk has room for" >&2
}
# Another rig is told nothing but what it is asked for. It may just be beginning, or be renaming what it has: it is asked
# again for a while. Where it has gone, or is silent for longer than it is where its own source is, the next one is asked.
for near in ${NEAR-}; do
  left=15
  while [ "$left" -gt 0 ]; do
    at=$(have) status=0
    set --
    [ "$at" = 0 ] || set -- --continue-at "$at"
    curl --disable --globoff --noproxy '*' --proto =http --connect-timeout 3 --keepalive-time 5 --speed-limit 1024 \
      --speed-time 90 --fail --silent --show-error "$@" "$near" >&3 || status=$?
    came "$at" "$near"
    if is_full "$status"; then exit "$status"; fi
    if is_whole "$status"; then exit 0; fi
    [ "$status" != 28 ] || break
    if [ "$(have)" -gt "$at" ]; then left=3; else left=$((left - 1)); fi
    sleep 1
  done
done
left=8 known=0
while :; do
  at=$(have)
  if [ $((at - known)) -ge 65536 ]; then left=8 known=$at; fi
  set --
  # A server whose file is no longer the one that was begun sends all of the new one, and curl refuses that.
  if [ "$at" -gt 0 ]; then set -- --continue-at "$at" ${IF_RANGE:+--header "If-Range: $IF_RANGE"}; fi
  status=0
  config | curl --disable --config - --speed-limit 1024 --speed-time 60 "$@" >&3 || status=$?
  [ -z "${NEAR-}" ] || came "$at" its-address
  left=$((left - 1))
  if is_full "$status"; then exit "$status"; fi
  if is_whole "$status"; then exit 0; fi
  case $status in
    0) ;;
    22) [ "$left" -gt 5 ] || exit 22 ;; # the server refuses: 429 and 503 may pass
    5 | 6 | 7 | 16 | 18 | 28 | 35 | 52 | 55 | 56 | 92 | 95) ;; # the network, which comes and goes
    *) exit "$status" ;;
  esac
  [ "$left" -gt 0 ] || exit "$status"
  sleep 2
done
