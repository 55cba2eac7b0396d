# Builds release $ID of llama.cpp in a unit of its own and installs it. A dropped connection costs nothing: a second run
# attaches to the build, or finishes what it left.
UNIT=rigwright-build-$ID
# Only this folder is the builder's; what root writes lies beside it.
TREE=$WORK/tree
# What systemd said of the unit: of its last lines the one with the reason.
last_words() { journal -u "$UNIT" -n 8 | grep -m1 -E 'failed: |Failed at step' || echo "nothing is known of it"; }
built() { [ -e "$TREE/done" ] && [ -e "$TREE/help" ] && [ -e "$TREE/receipt" ]; }
if have; then exit 0; fi
for tool in cmake $NVCC; do
  command -v "$tool" >/dev/null ||
    fail "the rig that was to build release $ID came to nothing, and this one has no $tool yet; run again, with --limit for this kind of rigs if that one stays so"
done
lock
if systemctl is-active -q "$UNIT"; then
  say "attaching to the build of $ID that is running"
elif ! built; then
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  # What unfinished builds of other releases left is of no use to this one, and may be large. One that ended within the hour
  # may be about to be installed by the run that waits for it, and archives and wheels to arrive.
  for old in "${WORK%/*}"/*; do
    [ -e "$old" ] && [ "$old" != "$WORK" ] && [ "$old" != "$ARCHIVE" ] && [ "$old" != "$NCCL" ] || continue
    ! systemctl is-active -q "rigwright-build-${old##*/}" || continue
    [ -z "$(find "$old" -maxdepth 2 \( -name 'done' -o -name '*.tar.gz' -o -name '*.whl' \) -mmin -60 -print -quit)" ] || continue
    say "$old goes, $(du -sh -- "$old" | cut -f1) that an unfinished build left"
    rm -rf -- "$old"
  done
  free=$(free_bytes "$WORK")
  [ "$free" -ge "$NEED" ] || fail "building needs $(human "$NEED") in $WORK, the disk has $(human "$free"); free some"
  free=$(free_bytes "$RELEASES")
  [ "$free" -ge "$NEED_INSTALLED" ] || fail "installing needs $(human "$NEED_INSTALLED") in $RELEASES, the disk has $(human "$free"); free some"
  # An upload is continued by size alone: a damaged one shows here, before anything is made of it.
  for arrived in "$ARCHIVE" "$NCCL"; do
    [ -n "$arrived" ] || continue
    if ! gzip -t "$arrived" 2>/dev/null; then
      rm -f "$arrived"
      what='the source archive'
      [ "$arrived" = "$ARCHIVE" ] || what='the archive of NCCL'
      fail "$what arrived damaged and was thrown away; run again"
    fi
    chmod 644 "$arrived"
  done
  install -d -m 755 "$WORK"
  install -d -m 755 -o "$BUILDER" -g "$BUILDER" "$TREE"
  printf '%s\n' "$OPTIONS" | write "$WORK/options" 644
  printf '%s\n' "$STEPS" | write "$WORK/build.sh" 644
  : | write "$WORK/log" 644
  ccache=/var/lib/rigwright/ccache umask=022
  # A lab shares one compiler cache among its rigs. On no other machine is there one that others may write.
  if [ -d /var/cache/rigwright-lab ]; then ccache=/var/cache/rigwright-lab umask=000; fi
  # Bound, not only writable: /var/lib/rigwright may be a link to a disk under /home, which the unit does not see.
  shut_in --unit="$UNIT" --uid="$BUILDER" --gid="$BUILDER" -p WorkingDirectory="$TREE" \
    -p BindReadOnlyPaths="${WORK%/*}${TOOLKIT:+ $TOOLKIT}" -p BindPaths="$TREE $ccache" \
    -p InaccessiblePaths=-/etc/llama.cpp \
    -p StandardOutput="append:$WORK/log" -p StandardError="append:$WORK/log" \
    --setenv=CCACHE_DIR="$ccache" --setenv=CCACHE_UMASK="$umask" --setenv=CCACHE_BASEDIR="$TREE" --setenv=CCACHE_NOHASHDIR=1 \
    --setenv=GIT_CEILING_DIRECTORIES="$TREE" \
    --setenv=GIT="$GIT" --setenv=REF="$REF" --setenv=COMMIT="$COMMIT" --setenv=ARCHIVE="$ARCHIVE" \
    --setenv=TOOLKIT="$TOOLKIT" --setenv=NCCL="$NCCL" --setenv=NVCC="$NVCC" --setenv=TARGETS="$TARGETS" --setenv=SASS="$SASS" --setenv=JOBS="$JOBS" --setenv=GIT_TERMINAL_PROMPT=0 --setenv=HOME="$TREE" \
    -- sh "$WORK/build.sh" || fail "systemd could not start the build: $(last_words); see journalctl -u $UNIT on the rig"
  say "building release $ID"
fi
unlock
progress() {
  step=$(grep -oE '^\[[1-9][0-9]{0,6}/[1-9][0-9]{0,6}\]' "$WORK/log" | tail -n1 | tr -d '[]')
  if [ -n "$step" ]; then echo "built $((${step%/*} * 100 / ${step#*/} / 5 * 5)) % of ${step#*/} steps"
  else tail -n1 "$WORK/log" | cut -c1-100; fi
}
follow "$UNIT"
if ! built; then
  reasons=$(grep -E 'error:|fatal:|Error at|FAILED:|No space|ninja: build stopped' "$WORK/log" || tail -n 2 "$WORK/log")
  printf '%s\n' "$reasons" | grep . | head -n 6 | cut -c1-300 | while IFS= read -r line; do why "$line"; done
  # With 3 it would end so on any rig of the kind.
  status=1
  case $(systemctl show -P Result -- "$UNIT") in
    oom-kill) why "the rig ran out of memory; set rig.llamacpp.jobs to fewer compilers at once" ;;
    exit-code | success)
      if [ ! -s "$WORK/log" ]; then why "it ended without a word: $(last_words)"
      elif ! grep -q 'No space left' "$WORK/log"; then status=3; fi ;;
    *) why "its unit ended by $(systemctl show -P Result -- "$UNIT")" ;;
  esac
  why "building release $ID failed, what runs goes on running; the whole log is $WORK/log on the rig"
  exit "$status"
fi
lock
if have; then exit 0; fi
# Nothing but what the builder itself made becomes root's.
strange=$(find "$TREE/build/bin" "$TREE/help" "$TREE/receipt" ! -user "$BUILDER" -print -quit)
[ -z "$strange" ] || fail "$strange is not the builder's own; the release was not installed, remove $WORK and run again"
empty_stage
cp -R --no-dereference "$TREE/build/bin" "$TREE/help" "$TREE/receipt" "$stage/" || undo "copying the build to $RELEASES failed; is the disk full?"
no_strangers
printf '%s\n' "$MANIFEST" >"$stage/release.json"
flags_of "$stage/help" >"$stage/flags.txt"
rm -f "$stage/help"
# Who built it, when, with what. What the builder says is a stranger's text: letters that mean something in JSON go.
{
  printf '{\n "host": "%s",\n "ended": "%s",\n "rigwright": "%s"' "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$VERSION"
  head -c 4096 -- "$stage/receipt" | head -n 12 | tr -cd ' !#-[]-~\n' | sed -nE 's/^([a-z]+) (.{1,200}).*$/,\n "\1": "\2"/p'
  printf '\n}\n'
} >"$stage/receipt.json"
rm -f "$stage/receipt"
own_stage
# In the form of sha256sum, for `sha256sum -c`: what is changed later shows.
sums=$(cd "$stage" && find . ! -type d -exec sha256sum {} +) || undo "the build could not be read back from $RELEASES"
printf '%s\n' "$sums" | sort -k 2 | write "$stage/sums.txt" 644
take_name
[ -z "$NCCL" ] || rm -f -- "$NCCL"
say "release $ID installed"
