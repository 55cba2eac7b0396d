# Takes one service away; its model file and its build stay for the others.
lock
file=/etc/systemd/system/$UNIT
[ ! -e "$file" ] || head -n1 "$file" | grep -q '^# Written by rigwright' || fail "$file was not written by rigwright; it stays"
systemctl disable -q --now "$UNIT" 2>/dev/null || :
systemctl reset-failed "$UNIT" 2>/dev/null || :
rm -f "$file" "$CONFIG/$NAME.key" "$CONFIG/$NAME.json"
rm -rf "/opt/rigwright/services/$NAME" "$STATE/services/$NAME"
systemctl daemon-reload
say "$UNIT removed"
