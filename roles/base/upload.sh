# Standard input goes into $PART, from the byte on that an earlier upload of it reached; $TOTAL bytes will lie there. The
# line "::offset N" says where to start. One upload at a time: the file is held until its last byte is written, and what
# another run has finished meanwhile is another file.
if [ -L "$PART" ] || { [ -f "$PART" ] && [ "$(stat -c '%u %h' -- "$PART")" != '0 1' ]; }; then rm -f -- "$PART"; fi
writable() { # the reason why not, without the shell's own words
  said=$({ true >>"$PART"; } 2>&1) && return
  case $said in *'No space left'*) [ "$(df -Pi -- "${PART%/*}" | awk 'END { print $4 }')" != 0 ] || said=': no inodes left' ;; esac
  fail "$PART: ${said##*: }"
}
writable
exec 8<>"$PART"
if ! flock -n 8; then
  quiet=$(($(date +%s) - $(stat -c %Y -- "$PART")))
  [ "$quiet" -ge "$QUIET" ] || fail "another run is uploading ${PART##*/} right now; wait for it, then run again"
  # Its laptop sleeps or is gone: what it wrote so far is good.
  for at in /proc/[0-9]*/fd/*; do
    pid=${at#/proc/} pid=${pid%%/*}
    [ "$pid" = $$ ] || ! same "$at" "$PART" || kill "$pid" 2>/dev/null || :
  done
  flock -w 10 8 || fail "another run is uploading ${PART##*/} and does not end; run again"
fi
same "$PART" "/proc/$$/fd/8" || fail "another run has uploaded ${PART##*/} meanwhile; run again"
offset=$(stat -c %s -- "$PART")
if [ "$offset" -gt "$TOTAL" ]; then
  : >"$PART"
  offset=0
fi
printf '::offset %s\n' "$offset"
exec dd bs=262144 oflag=seek_bytes seek="$offset" conv=notrunc status=none >&8
