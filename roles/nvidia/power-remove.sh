# Takes the unit of power limits and clocks away; as it stops, the cards get their own back.
lock
file=/etc/systemd/system/$UNIT
[ ! -e "$file" ] || head -n1 -- "$file" | grep -q '^# Written by rigwright' || fail "$file was not written by rigwright; it stays"
remove_unit "$UNIT"
rm -f -- "$PROGRAM" "$SETTINGS"
rmdir -- "${PROGRAM%/*}" 2>/dev/null || :
say "$UNIT removed: the cards have their own power limits and clocks"
