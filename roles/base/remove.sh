# Takes away what rigwright brought. A unit or a model file that is not ours stays, and is named.
lock
for file in /etc/systemd/system/rigwright-*.service; do
  [ -e "$file" ] || continue
  head -n1 "$file" | grep -q '^# Written by rigwright' || { say "$file is not ours, it stays"; continue; }
  unit=${file##*/}
  systemctl disable -q --now "$unit" 2>/dev/null || :
  systemctl reset-failed "$unit" 2>/dev/null || :
  rm -f "$file"
  rm -rf "/var/cache/private/${unit%.service}" "/var/cache/${unit%.service}"
  say "${unit} removed"
done
for unit in $(systemctl list-units --all --plain --no-legend 'rigwright-build-*' 'rigwright-download-*' | awk '{ print $1 }'); do
  systemctl stop "$unit" 2>/dev/null || :
  systemctl reset-failed "$unit" 2>/dev/null || :
done
systemctl daemon-reload
if [ -n "$WEIGHTS" ] && [ -e "$BROUGHT" ]; then
  # What was found on the rig and only checked is not in the list: it stays.
  while IFS= read -r file; do rm -f -- "$file"; done <"$BROUGHT"
  rm -f "$BROUGHT"
  rmdir "$STATE/weights" 2>/dev/null || :
fi
came=$(cat "$RECORD" 2>/dev/null || :)
if [ -n "$PACKAGES" ] && [ -n "$came" ]; then
  # Only what came with us and what nothing else needs by now: the package manager itself decides what is needed.
  # shellcheck disable=SC2086 # names, one word each
  gone=$(unneeded $came | comm -12 - "$RECORD")
  if [ -n "$gone" ]; then
    say "removing $(echo "$gone" | wc -w) packages"
    # shellcheck disable=SC2086
    drop $gone
  fi
fi
created=$STATE/account.created
rm -rf /opt/rigwright "$CONFIG"
if [ -e "$created" ]; then userdel "$BUILDER" 2>/dev/null || :; fi
if [ -n "$(ls -A "$STATE/weights" 2>/dev/null)" ]; then
  find "$STATE" -mindepth 1 -maxdepth 1 ! -name weights ! -name "${BROUGHT##*/}" -exec rm -rf {} +
  say "model files stay in $STATE/weights; --data remove_weights=true takes them too"
else
  rm -rf "$STATE"
fi
