# Builds release $ID of llama.cpp in a unit of its own and installs it. A dropped connection costs nothing: a second run
# attaches to the build, or finishes what it left.
UNIT=rigwright-build-$ID
# Only this folder is the builder's; what root writes lies beside it.
TREE=$WORK/tree
have() { [ -e "$RELEASE/release.json" ]; }
if have; then exit 0; fi
if systemctl is-active -q "$UNIT"; then
  say "attaching to the build of $ID that is running"
elif [ ! -e "$TREE/done" ]; then
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  free=$(free_bytes "$WORK")
  [ "$free" -ge "$NEED" ] || fail "building needs $(human "$NEED") in $WORK, the disk has $(human "$free"); free some"
  # An upload is continued by size alone: a damaged one shows here, before anything is made of it.
  if [ -n "$ARCHIVE" ] && ! gzip -t "$ARCHIVE" 2>/dev/null; then
    rm -f "$ARCHIVE"
    fail "the source archive arrived damaged and was thrown away; run again"
  fi
  mkdir -p "$WORK"
  install -d -m 755 -o "$BUILDER" -g "$BUILDER" "$TREE"
  printf '%s\n' "$OPTIONS" | write "$WORK/options" 644
  printf '%s\n' "$STEPS" | write "$WORK/build.sh" 644
  : >"$WORK/log"
  ccache=/var/lib/rigwright/ccache umask=022
  # A lab shares one compiler cache among its rigs and marks it so.
  if [ "$(stat -c %a /var/cache/ccache 2>/dev/null)" = 1777 ]; then ccache=/var/cache/ccache umask=000; fi
  systemd-run -q --unit="$UNIT" --uid="$BUILDER" --gid="$BUILDER" --working-directory="$TREE" -p Nice=5 \
    -p StandardOutput="append:$WORK/log" -p StandardError="append:$WORK/log" \
    --setenv=CCACHE_DIR="$ccache" --setenv=CCACHE_UMASK="$umask" --setenv=CCACHE_BASEDIR="$TREE" --setenv=CCACHE_NOHASHDIR=1 \
    --setenv=GIT_CEILING_DIRECTORIES="$TREE" \
    --setenv=GIT="$GIT" --setenv=REF="$REF" --setenv=COMMIT="$COMMIT" --setenv=ARCHIVE="$ARCHIVE" \
    --setenv=TARGETS="$TARGETS" --setenv=JOBS="$JOBS" --setenv=GIT_TERMINAL_PROMPT=0 --setenv=HOME="$TREE" \
    sh "$WORK/build.sh" || fail "systemd-run could not start the build; see journalctl on the rig"
  say "building release $ID"
fi
progress() {
  step=$(grep -o '^\[[0-9]*/[0-9]*\]' "$WORK/log" | tail -n1 | tr -d '[]')
  if [ -n "$step" ]; then echo "built $((${step%/*} * 100 / ${step#*/} / 5 * 5)) % of ${step#*/} steps"
  else tail -n1 "$WORK/log" | cut -c1-100; fi
}
follow "$UNIT"
if [ ! -e "$TREE/done" ]; then
  grep -E 'error:|fatal:|Error at|FAILED:|No space|ninja: build stopped' "$WORK/log" | head -n 6 | cut -c1-300 | while read -r line; do why "$line"; done
  why "building release $ID failed, what runs goes on running; the whole log is $WORK/log on the rig"
  exit 1
fi
lock
if have; then exit 0; fi
said=$(runuser -u "$BUILDER" -- "$TREE/build/bin/llama-server" --version 2>&1) ||
  fail "the new llama-server does not start: $(echo "$said" | tail -n1); see $WORK"
stage=$(dirname "$RELEASE")/.$ID
rm -rf "$stage"
mkdir -p "$stage/bin"
cp -R --no-dereference "$TREE"/build/bin/. "$stage/bin/" || fail "copying the build failed; is the disk full?"
printf '%s\n' "$MANIFEST" >"$stage/release.json"
# What this build accepts, the lines of its help that name flags and values: plans for another release than the pinned one
# are written in its words.
runuser -u "$BUILDER" -- "$TREE/build/bin/llama-server" --help 2>/dev/null |
  sed -nE "/^ .*(allowed values:|'all')|^ +- [a-z0-9+-]+:/p; /^-----/d; /^-/{/has been removed/!s/^(.{37})   .*/\1/;s/ +$//;p}" \
    >"$stage/flags.txt"
chown -R root:root "$stage"
# One without its release.json is no release; what runs from it goes on until it is restarted.
rm -rf "$stage.gone"
[ ! -e "$RELEASE" ] || mv -T "$RELEASE" "$stage.gone"
mv -T "$stage" "$RELEASE"
rm -rf "$stage.gone" "$WORK" "$ARCHIVE"
say "release $ID installed"
