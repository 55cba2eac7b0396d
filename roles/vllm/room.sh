# Room for what is about to be sent of a release: $NEED bytes, less what is there.
if [ -e "$RELEASE/release.json" ]; then exit 0; fi
lock
install -d -m 755 "${WORK%/*}" "$WORK" "$WORK/wheels"
there=$(du -sB1 -- "$WORK/wheels" | cut -f1)
free=$(free_bytes "$WORK")
[ $((free + there)) -ge "$NEED" ] || fail "the wheels of vLLM need $(human "$NEED") in $WORK, the disk has $(human "$free"); free some"
