# The script by which units have their models: one for all of them.
lock
install -d -m 755 "${PROGRAM%/*}" "${PROGRAM%/*}/requests"
printf %s "$TEXT" | write "$PROGRAM" 644
