# Room for a toolkit, before half a gigabyte is on its way: $NEED bytes where its archive waits, $NEED_INSTALLED where it lies.
lock
free=$(free_bytes "$STATE")
[ "$free" -ge "$NEED" ] || fail "a toolkit needs $(human "$NEED") in $STATE while it arrives, the disk has $(human "$free"); free some"
free=$(free_bytes "$AT")
[ "$free" -ge "$NEED_INSTALLED" ] || fail "a toolkit needs $(human "$NEED_INSTALLED") in ${AT%/*}, the disk has $(human "$free"); free some"
install -d -m 755 "$STATE" "${AT%/*}"
# Archives of other toolkits, which nobody sends any more.
for old in "$STATE"/*.tar.gz; do
  [ ! -e "$old" ] || [ "$old" = "$ARCHIVE" ] || rm -f -- "$old"
done
