# quiet UNIT: drains it for ten seconds at most. Where nobody keeps a connection, new ones are kept back in the kernel from then
# on until it has stopped: a client's kernel asks again after a second. Else, or where that cannot be had, it is as after
# drain(): on a connection that is kept, what is kept back would never be answered, and the client not told that it is closed.
quiet() (
  tells_of "$1"
  until=$(($(now) + 10))
  while left=$((until - $(now))) && [ "$limit" -gt 0 ] && [ "$left" -gt 0 ]; do
    drain "$1" "$left" || return 0
    if keeps_connections || ! hold "$1"; then break; fi
    if nobody_waits; then return 0; fi
    let_through "$1"
  done
  # All that took its time.
  drain "$1" 5 || :
)
# connected: who is, a line each.
connected() { ss -Htn state established "sport = :$port" 2>/dev/null | awk '{ print $4 }'; }
# keeps_connections: whether somebody stays connected, and not just for one request.
keeps_connections() {
  kept=$(connected)
  for _ in 1 2 3 4; do
    [ -n "$kept" ] || return 1
    sleep 0.1
    kept=$(connected | grep -Fx -e "$kept")
  done
  [ -n "$kept" ]
}
# hold UNIT: from now on its packets pass to and from one address alone, $from, at which nobody else asks. The file says how
# that ends as well: with the stop, while its control group is still there, for what it closes then stays in that and could
# never say so to its client; and where this script is killed, by a timer.
hold() {
  # What several rigs serve together talks all the time: packets that are kept back would break it.
  if grep -qs -e '--nnodes' "/etc/systemd/system/$1"; then return 1; fi
  file=/run/systemd/system/$1.d/zz-rigwright-hold from=127.82.73.71
  # Of version 6 there is one address of the machine itself: who asks from there is not kept back.
  case $health in *//\[*) from=${health#*//\[} from=${from%%\]*} ;; esac
  systemctl is-active -q "$1" && mkdir -p "${file%/*}" && write "$file.sh" 600 <<END || return 1
rm -f $file.conf $file.sh
rmdir --ignore-fail-on-non-empty ${file%/*}
systemctl daemon-reload
# What is read anew binds what runs with the next start in its slice.
systemd-run -q --collect --slice="\$(systemctl show -P Slice -- $1)" true
END
  systemctl stop "rigwright.hold.$at.timer" 2>/dev/null || :
  transient -q --collect --unit="rigwright.hold.$at" --on-active=15 --timer-property=AccuracySec=100ms -- \
    sh -c "[ ! -e $file.sh ] || sh $file.sh" 2>/dev/null &&
    printf '%s\n' '[Service]' IPAddressDeny=any IPAddressAllow= "IPAddressAllow=$from" \
      "ExecStopPost=+-/bin/sh $file.sh" | write "$file.conf" 644 &&
    systemctl daemon-reload && take_up "$1" && return
  let_through "$1"
  return 1
}
# let_through UNIT: the end of hold(), where it has not come by itself.
let_through() (
  file=/run/systemd/system/$1.d/zz-rigwright-hold at=${1#rigwright-}
  [ ! -e "$file.sh" ] || sh "$file.sh"
  systemctl stop "rigwright.hold.${at%.service}.timer" 2>/dev/null || :
)
# take_up UNIT: what systemd has read of its control group binds the processes in it. systemd 252 does so as it reads,
# 257 when it looks at the slice again, for a start of anybody.
take_up() { transient -q --wait --collect --slice="$(systemctl show -P Slice -- "$1")" -- true; }
# nobody_waits: while packets are kept back, whether nobody slipped in.
nobody_waits() {
  for _ in 1 2; do
    if [ -n "$(connected)" ] || at_work 2 "$key" "$port" "$health" "$tells" "$busy"; then return 1; fi
    sleep 0.1
  done
}
