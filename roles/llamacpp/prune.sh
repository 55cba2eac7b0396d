# Removes builds beyond the newest $KEEP; what any service runs or ran before stays.
lock
cd "$PREFIX"
used=$(readlink /opt/rigwright/services/*/current /opt/rigwright/services/*/previous 2>/dev/null || :)
kept=0
for id in $(ls -1t | grep -v '^\.'); do
  kept=$((kept + 1))
  case $used in *"$id"*) continue ;; esac
  [ "$kept" -le "$KEEP" ] || { rm -rf -- "${PREFIX:?}/$id"; say "release $id removed"; }
done
