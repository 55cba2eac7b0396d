# Takes one service away; its model file and its build stay for the others.
lock
own "$NAME"
file=/etc/systemd/system/$UNIT
[ ! -e "$file" ] || head -n1 "$file" | grep -q '^# Written by rigwright' || fail "$file was not written by rigwright; it stays"
model=$(sed -n 's/.*"name":"--model","value":"\([^"]*\)".*/\1/p' "$CONFIG/$NAME.json" 2>/dev/null || :)
remove_watch "$NAME"
drain "$UNIT" || say "what it has under way is cut"
remove_unit "$UNIT"
rm -f "$CONFIG/$NAME.key" "$CONFIG/$NAME.json"
rm -rf "/opt/rigwright/services/$NAME" "$STATE/services/$NAME"
systemctl daemon-reload
say "$UNIT removed"
if [ -e "${model:-/nonexistent}" ] && ! grep -qsF "\"$model\"" "$CONFIG"/*.json; then
  say "$model stays, no service uses it now; rigwright weights INVENTORY --prune takes what nobody wants"
fi
