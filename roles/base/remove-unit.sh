# remove_unit UNIT: stops and forgets a unit of ours. Settings that the owner added to it stay.
remove_unit() {
  systemctl disable -q --now "$1" 2>/dev/null || :
  if systemctl is-active -q "$1"; then fail "$1 does not stop: $(systemctl show -P SubState "$1"); see systemctl status $1 on the rig"; fi
  systemctl reset-failed "$1" 2>/dev/null || :
  store=/var/lib/private/${1%.service}
  if [ -e "$store/rigwright" ]; then remove_store "$1" "$store"; fi
  rm -f -- "/etc/systemd/system/$1"
  rm -rf -- "/var/cache/private/${1%.service}" "/var/cache/${1%.service}"
  [ ! -d "/etc/systemd/system/$1.d" ] || say "/etc/systemd/system/$1.d stays, rigwright did not write it"
}
# remove_store UNIT STORE: what we made in Ollama's store goes, as its own account does it; with models of others it stays.
remove_store() {
  user=$(sed -n 's/^User=\([a-z0-9-]*\)$/\1/p' "/etc/systemd/system/$1" 2>/dev/null | head -n1)
  if [ -n "$user" ] && shut_in --pipe --wait --collect -p DynamicUser=yes -p User="$user" -p StateDirectory="${1%.service}" \
    -p PrivateNetwork=yes -p RuntimeMaxSec=600 --setenv=HOME="/var/lib/${1%.service}" --setenv=OLLAMA_HOST=none \
    -- /bin/sh /opt/rigwright/ollama/model.sh leave - - >/dev/null 2>&1; then
    rm -rf -- "$2" "/var/lib/${1%.service}"
  else
    say "$2 stays, it has models that rigwright did not make"
  fi
}
# remove_watch INSTANCE: nobody looks after it any more.
remove_watch() {
  for looks in "rigwright.watch.$1.timer" "rigwright.watch.$1.service"; do
    if [ -e "/etc/systemd/system/$looks" ]; then remove_unit "$looks"; fi
  done
  rm -f -- "/run/rigwright.watch/$1" "/run/rigwright.watch/$1.group"
}
