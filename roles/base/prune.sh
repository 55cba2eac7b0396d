# Removes toolkits that no release was built with, but for the one that is wanted now, and releases that no instance runs and none would roll back to, of all engines. One that no instance ever ran may be
# what another run has just built: it stays for a day.
lock
used=$(
  for link in /opt/rigwright/services/*/current /opt/rigwright/services/*/previous; do
    [ ! -L "$link" ] || readlink -- "$link"
  done
  # What a switch that was cut would bring back.
  for mark in /var/lib/rigwright/services/*/running; do [ ! -f "$mark" ] || head -n1 -- "$mark"; done
)
# Installations that were cut: who works at one holds the lock.
for path in /opt/rigwright/*/releases/.[0-9a-z]* /opt/rigwright/cuda/.[0-9]*; do
  [ ! -e "$path" ] || { rm -rf -- "${path:?}" && say "$path removed, an installation was cut there"; }
done
for path in /opt/rigwright/*/releases/*; do
  [ -e "$path" ] || continue
  if printf '%s\n' "$used" | grep -qxF -- "$path"; then continue; fi
  [ -e "$path/.served" ] || [ -z "$(find "$path" -maxdepth 0 -mmin -1440)" ] || continue
  rm -rf -- "${path:?}"
  say "release ${path##*/} removed"
done
wanted=$(cat /var/lib/rigwright/cuda/proven 2>/dev/null || :)
for path in /opt/rigwright/cuda/*; do
  [ -e "$path/bin/nvcc" ] || continue
  case $wanted in "$path"/*) continue ;; esac
  if grep -qsF -- "$path/" /opt/rigwright/*/releases/*/release.json; then continue; fi
  rm -rf -- "${path:?}"
  say "toolkit ${path##*/} removed"
done
