# Removes releases that no instance runs and none would roll back to, of all engines.
lock
used=$(readlink /opt/rigwright/services/*/current /opt/rigwright/services/*/previous 2>/dev/null || :)
for path in /opt/rigwright/*/releases/*; do
  [ -e "$path" ] || continue
  case $used in *"$path"*) continue ;; esac
  rm -rf -- "${path:?}"
  say "release ${path##*/} removed"
done
