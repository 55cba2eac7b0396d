# Runs on the rig in the unit that download.sh starts, which is nobody's: standard output is the part, config says where
# the file lies. Goes on where the part ends as long as some of it still comes.
exec 3>&1
left=8 known=0
while :; do
  at=$(stat -Lc %s /proc/self/fd/3)
  if [ $((at - known)) -ge 65536 ]; then left=8 known=$at; fi
  set --
  # A server whose file is no longer the one that was begun sends all of the new one, and curl refuses that.
  if [ "$at" -gt 0 ]; then set -- --continue-at "$at" ${IF_RANGE:+--header "If-Range: $IF_RANGE"}; fi
  status=0
  config | curl --disable --config - --speed-limit 1024 --speed-time 60 "$@" >&3 || status=$?
  left=$((left - 1))
  case $status in
    0) exit 0 ;;
    22) [ "$left" -gt 5 ] || exit 22 ;; # the server refuses: 429 and 503 may pass
    5 | 6 | 7 | 16 | 18 | 28 | 35 | 52 | 55 | 56 | 92 | 95) ;; # the network, which comes and goes
    23 | 153) # what is written is limited to what was announced, else to what the disk can take
      echo "curl: more came than was announced, or than the disk has room for" >&2
      exit "$status"
      ;;
    *) exit "$status" ;;
  esac
  [ "$left" -gt 0 ] || exit "$status"
  sleep 2
done
