# Installs release $ID, which another rig of the same kind has built: $ARCHIVE, whose sha256 is $SHA256. It is unpacked,
# held to its own sums, and started once before it has its name.
prove() { # prove PROGRAM: it is a stranger's, and shut in like a build
  shut_in --uid="$BUILDER" --gid="$BUILDER" --pipe --wait --collect --description="rigwright tries a release" -p RuntimeMaxSec=60 -- "$1" --version
}
lock
if have; then rm -f -- "$ARCHIVE"; exit 0; fi
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
(cd "$stage" && sha256sum --quiet -c sums.txt) >/dev/null 2>&1 || undo "release $ID is not as it was built; delete what this machine keeps of it, $KEPT, and run again"
said=$(prove "$stage/bin/llama-server" 2>&1) ||
  undo "release $ID does not start on this rig: $(printf '%s\n' "$said" | grep . | tail -n1 | cut -c1-200); set rig.llamacpp.share: False for it, then it builds its own"
take_name
say "release $ID received, built by $(sed -n 's/.*"host": "\([^"]*\)".*/\1/p' "$RELEASE/receipt.json" | head -n1)"
