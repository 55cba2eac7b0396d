# Installs release $ID, which was built elsewhere, as a rule by another rig of the same kind: $ARCHIVE, whose sha256 is $SHA256.
# It is unpacked, held to its own sums, and started once before it has its name.
lock
if have; then rm -f -- "$WORK"-*.release.tar.gz; exit 0; fi
sum=$(sha256sum <"$ARCHIVE") || sum=
if [ "${sum%% *}" != "$SHA256" ]; then
  rm -f -- "$ARCHIVE"
  fail "release $ID arrived damaged and was thrown away; run again"
fi
# The build of a run that was cut goes on in vain.
systemctl stop "rigwright-build-$ID" 2>/dev/null || :
free=$(free_bytes "$RELEASES")
[ "$free" -ge "$NEED_INSTALLED" ] || fail "installing needs $(human "$NEED_INSTALLED") in $RELEASES, the disk has $(human "$free"); free some"
empty_stage
tar -xzf "$ARCHIVE" -C "$stage" --strip-components=1 --no-same-owner --no-same-permissions || undo "release $ID could not be unpacked to $RELEASES; is the disk full?"
no_strangers
own_stage
# Of what sha256sum understands only this: a name elsewhere may be one of a file without an end.
strange=$(LC_ALL=C grep -vE -m1 '^[0-9a-f]{64}  \./[^\]+$' "$stage/sums.txt" || LC_ALL=C grep -F -m1 /../ "$stage/sums.txt") || :
[ -z "$strange" ] || undo "release $ID is not as it was built; delete what this machine keeps of it, $KEPT, and run again"
(cd "$stage" && sha256sum --quiet -c sums.txt) >/dev/null 2>&1 || undo "release $ID is not as it was built; delete what this machine keeps of it, $KEPT, and run again"
starts "set rig.llamacpp.share: False for it, or source: build in place of binaries, then it builds its own"
has_code "$stage/bin/libggml-cuda.so" "name other binaries, or let them be built"
# What somebody else has built comes without.
if [ ! -e "$stage/flags.txt" ]; then
  asked_flags
  (cd "$stage" && sha256sum ./flags.txt) >>"$stage/sums.txt"
fi
take_name
say "release $ID received, built by $(sed -n 's/.*"host": "\([^"]*\)".*/\1/p' "$RELEASE/receipt.json" 2>/dev/null | head -n1)"
