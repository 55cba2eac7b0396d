# Takes the unit away that sets what plans asked of the machine itself; as it stops, what was there before comes back.
lock
are_ours "/etc/systemd/system/$UNIT" "$PROGRAM"
remove_unit "$UNIT"
[ ! -f "$PROGRAM" ] || sh "$PROGRAM" reset
rm -f -- "$PROGRAM" "$SETTINGS"
say "$UNIT removed: governor and swappiness are what they were"
