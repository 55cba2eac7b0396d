# remove_unit UNIT: stops and forgets a unit of ours. Settings that the owner added to it stay.
remove_unit() {
  systemctl disable -q --now "$1" 2>/dev/null || :
  if systemctl is-active -q "$1"; then fail "$1 does not stop: $(systemctl show -P SubState "$1"); see systemctl status $1 on the rig"; fi
  systemctl reset-failed "$1" 2>/dev/null || :
  rm -f -- "/etc/systemd/system/$1"
  rm -rf -- "/var/cache/private/${1%.service}" "/var/cache/${1%.service}"
  [ ! -d "/etc/systemd/system/$1.d" ] || say "/etc/systemd/system/$1.d stays, rigwright did not write it"
}
# remove_watch INSTANCE: nobody looks after it any more.
remove_watch() {
  for looks in "rigwright.watch.$1.timer" "rigwright.watch.$1.service"; do
    if [ -e "/etc/systemd/system/$looks" ]; then remove_unit "$looks"; fi
  done
  rm -f -- "/run/rigwright.watch/$1" "/run/rigwright.watch/$1.group"
}
