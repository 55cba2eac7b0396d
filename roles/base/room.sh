# Room for packages that are about to be sent to $ARCHIVE: $NEED bytes. What was sent of others goes.
lock
install -d -m 755 "${ARCHIVE%/*}"
for old in "${ARCHIVE%/*}"/packages-*.tar; do
  [ ! -e "$old" ] || [ "$old" = "$ARCHIVE" ] || rm -f -- "$old"
done
there=$(stat -c %s -- "$ARCHIVE" 2>/dev/null || echo 0)
free=$(free_bytes "${ARCHIVE%/*}")
[ $((free + there)) -ge "$NEED" ] || fail "packages need $(human "$NEED") in ${ARCHIVE%/*}, the disk has $(human "$free"); free some"
