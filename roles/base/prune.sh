# Removes releases that no instance runs and none would roll back to, of all engines, but for the older ones that shall stay; and
# toolkits that no release was built with, but for the one that is wanted now. A release that no instance ever ran may be what
# another run has just built: it stays for a day.
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
# Of an unfinished build the log is there to be read, for a day.
for path in /var/lib/rigwright/build/*; do
  if [ ! -e "$path" ] || [ -z "$(find "$path" -maxdepth 0 -mmin +1440)" ]; then continue; fi
  ! systemctl is-active -q "rigwright-build-${path##*/}" || continue
  say "$path goes, $(du -sh -- "$path" | cut -f1) that an unfinished build left"
  rm -rf -- "${path:?}"
done
# How many older ones stay of each engine, by the service that asks for most: the one of the way back, and so many more.
keep=$(sed -n 's/.*"keep_releases":\([1-9][0-9]\{0,1\}\)[,}].*/\1/p' /etc/rigwright/*.json 2>/dev/null | sort -n | tail -n1)
older() { # older FOLDER: of its releases that nobody uses those that stay, by when they came last
  [ "${keep:-1}" -lt 2 ] || find "$1" -mindepth 2 -maxdepth 2 -name .served -printf '%T@ %h\n' 2>/dev/null |
    sort -rn | cut -d' ' -f2- | grep -vxF -- "$used" | head -n "$((keep - 1))"
}
used="$used
$(for folder in /opt/rigwright/*/releases; do older "$folder"; done)"
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
