# Removes builds that no service runs and none would roll back to.
lock
used=$(readlink /opt/rigwright/services/*/current /opt/rigwright/services/*/previous 2>/dev/null || :)
for path in "$PREFIX"/*; do
  case $used in *"$path"*) continue ;; esac
  rm -rf -- "${path:?}"
  say "release ${path##*/} removed"
done
