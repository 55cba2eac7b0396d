# What apt.sh and dnf.sh share. $work is a folder that goes when the script ends, $log what the last command said.
work=$(mktemp -d)
log=$work/log
held=
trap 'rm -rf "$work"' EXIT
# watched COMMAND …: what it does shows every five seconds. A daemon that a package starts must not keep our lock.
watched() {
  "$@" >"$log" 2>&1 </dev/null 9>&- &
  shown='' tick=0
  while kill -0 $! 2>/dev/null; do
    tick=$((tick + 1))
    if [ "$tick" -lt 10 ]; then sleep 0.1; else sleep 0.5; fi
    [ $((tick % 10)) -eq 0 ] || continue
    now=$(tail -n1 "$log" | cut -c1-90)
    [ "$now" = "$shown" ] || [ -z "$now" ] || { say "$now"; shown=$now; }
  done
  wait $!
}
# patiently COMMAND …: again while another package manager is at work, for ten minutes. $held is what it says of a lock.
patiently() {
  began=$(date +%s) told=0
  until "$@"; do
    held=$(locked | head -n1)
    passed=$(($(date +%s) - began))
    if [ -z "$held" ] || [ "$passed" -ge "${PATIENCE:-600}" ]; then return 1; fi
    [ "$passed" -lt "$told" ] || { say "waiting for another package manager: $held"; told=$((passed + 60)); }
    sleep 3
  done
  held=
}
