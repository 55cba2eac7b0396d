# Takes the unit of power limits and clocks away; as it stops, the cards get their own back.
lock
are_ours "/etc/systemd/system/$UNIT"
remove_unit "$UNIT"
rm -f -- "$PROGRAM" "$SETTINGS"
rmdir -- "${PROGRAM%/*}" 2>/dev/null || :
say "$UNIT removed: the cards have their own power limits and clocks"
