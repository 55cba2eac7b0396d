# Has power limits and clocks set now and at each boot: $PROGRAM sets what $SETTINGS says, and $UNIT runs it at boot.
lock
are_ours "/etc/systemd/system/$UNIT" "$PROGRAM"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -d -m 755 "${PROGRAM%/*}" "${SETTINGS%/*}"
# A card that is not limited any more gets its own back; the others are never without a limit meanwhile.
if [ -f "$PROGRAM" ] && [ -f "$SETTINGS" ]; then
  printf %s "$SETTINGS_TEXT" >"$work/new"
  awk 'NR == FNR { watts[$1] = $2; clocks[$1] = $3; next }
    { w = watts[$1] ~ /[0-9]/ ? "-" : $2; c = clocks[$1] ~ /[0-9]/ ? "-" : $3; if (w != "-" || c != "-") print $1, w, c }
  ' "$work/new" "$SETTINGS" >"$work/dropped"
  [ ! -s "$work/dropped" ] || sh "$PROGRAM" reset "$work/dropped" | while read -r line; do say "$line"; done
fi
printf %s "$PROGRAM_TEXT" | write "$PROGRAM" 644
printf %s "$SETTINGS_TEXT" | write "$SETTINGS" 644
own_unit "$UNIT" "$UNIT_TEXT"
sh "$PROGRAM" apply "$SETTINGS" >"$work/said" && status=0 || status=$?
if [ "$status" -eq 0 ]; then
  while read -r line; do say "$line"; done <"$work/said"
  systemctl start "$UNIT"
else
  systemctl start --no-block "$UNIT" || :
  while read -r line; do why "$line"; done <"$work/said"
  exit 1
fi
