# The file of a repository lies where 0.1 had it, with the files of all others: the same content gets its own name beside
# that one, which stays for the way back. Nothing is downloaded again.
lock
install -d -m 755 -- "${DEST%/*}"
sum=$(stamped "$FLAT")
[ -n "$sum" ] && [ ! -e "$DEST" ] && [ ! -L "$DEST" ] || exit 0
ln -- "$FLAT" "$DEST" 2>/dev/null || { [ -z "$HIDDEN" ] && ln -s -- "../${FLAT##*/}" "$DEST"; } || exit 0
record "$DEST" "$STAMP"
stamp "$DEST" "$ORIGIN" "$STAMP"
