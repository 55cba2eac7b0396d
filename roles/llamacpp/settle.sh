# A release takes its name in one step, whole or not at all. What is about to be one lies in $stage.
RELEASES=${RELEASE%/*}
stage=$RELEASES/.$ID
have() { [ -e "$RELEASE/release.json" ]; }
undo() { rm -rf -- "$stage"; fail "$*"; }
# What an installation that was cut short left goes. Nobody else sees what is not settled yet: it may call itself root's.
empty_stage() { install -d -m 755 "$RELEASES" && rm -rf -- "$RELEASES"/.[0-9a-z]* && install -d -m 700 "$stage"; }
# No link leads out of a release, and nothing in it is a device.
no_strangers() {
  strange=$(find "$stage" \( -type l -lname '*/*' -o -type l -lname .. -o ! -type l ! -type f ! -type d \) -print -quit)
  [ -z "$strange" ] || undo "$strange is no file of this release; it was not installed, remove $WORK and run again"
}
own_stage() { chown -R --no-dereference root:root "$stage" && chmod -R u=rwX,go=rX "$stage"; }
# One without its release.json is no release; what runs from it goes on until it is restarted.
take_name() {
  [ ! -e "$RELEASE" ] || mv -T "$RELEASE" "$stage.gone"
  mv -T "$stage" "$RELEASE"
  # Runs that were cut may have left other archives of it.
  rm -rf -- "$stage.gone" "$WORK" "$WORK"-*.release.tar.gz "$ARCHIVE"
}
# flags_of HELP: what a build accepts, the lines of its help that name flags and values: plans for another release than the
# pinned one are written in its words.
flags_of() {
  sed -nE "/^ .*(allowed values:|'all')|^ +- [a-z0-9+-]+:/p; /^-----/d; /^-/{/has been removed/!s/^(.{37})   .*/\1/;s/ +$//;p}" "$1"
}
