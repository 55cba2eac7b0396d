# Has what plans ask of the machine itself set, now and at each boot: $PROGRAM sets what $SETTINGS says, $UNIT runs it.
lock
are_ours "/etc/systemd/system/$UNIT" "$PROGRAM"
install -d -m 755 "${PROGRAM%/*}" "${SETTINGS%/*}"
printf %s "$PROGRAM_TEXT" | write "$PROGRAM" 644
printf %s "$SETTINGS_TEXT" | write "$SETTINGS" 644
own_unit "$UNIT" "$UNIT_TEXT"
sh "$PROGRAM" apply "$SETTINGS" | while read -r line; do say "$line"; done
systemctl start "$UNIT"
