# What lies whole on this rig is offered to the rigs of the run that want it.
lock
[ "$(stamped "$DEST")" = "$SHA256" ] || fail "$DEST changed meanwhile; run again"
offer "$DEST" "$(stat -Lc %s -- "$DEST")"
