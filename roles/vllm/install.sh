# Installs release $ID of vLLM, an environment of Python, in its final place: its programs name that. A unit of its own does it
# as $BUILDER, and outlives this connection: a second run attaches to it, or begins with what it has fetched.
UNIT=rigwright-build-$ID
newline='
'
have() { [ -e "$RELEASE/release.json" ]; }
last_words() { journal -u "$UNIT" -n 8 | grep -m1 -E 'failed: |Failed at step' || echo "nothing is known of it"; }
if have; then exit 0; fi
into=${RELEASE%/*}
lock
if have; then exit 0; fi
if systemctl is-active -q "$UNIT"; then
  say "attaching to the installation of $ID that is running"
elif [ ! -e "$RELEASE/.done" ]; then
  for link in /opt/rigwright/services/*/current; do
    [ "$(readlink -- "$link")" != "$RELEASE" ] ||
      fail "$RELEASE has lost its release.json, and ${link%/current} runs from it; remove that service, then run again"
  done
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  # What unfinished installations left is of no use to this one, and may be large.
  for old in "${WORK%/*}"/*; do
    [ -e "$old" ] && [ "$old" != "$WORK" ] || continue
    ! systemctl is-active -q "rigwright-build-${old##*/}" || continue
    [ -z "$(find "$old" -maxdepth 2 -mmin -60 -print -quit)" ] || continue
    say "$old goes, $(du -sh -- "$old" | cut -f1) that an unfinished installation left"
    rm -rf -- "$old"
  done
  for old in "$into"/*; do
    [ -d "$old" ] && [ "$old" != "$RELEASE" ] && [ ! -e "$old/release.json" ] && [ -d "$old/.cache" ] || continue
    ! systemctl is-active -q "rigwright-build-${old##*/}" || continue
    rm -rf -- "$old"
  done
  # An upload is continued by size alone: a damaged one shows here. What was sent of another release goes.
  sums="$UV_SUM  uv.whl
$SUMS"
  for file in "$WORK"/wheels/*.whl; do
    [ -e "$file" ] || continue
    case $newline$sums$newline in *"  ${file##*/}$newline"*) ;; *) rm -f -- "$file" ;; esac
  done
  printf '%s\n' "$sums" | grep . >"$WORK/sums.txt"
  if ! bad=$(cd "$WORK/wheels" && LC_ALL=C sha256sum -c --quiet ../sums.txt 2>/dev/null); then
    printf '%s\n' "$bad" | sed -n 's/: FAILED.*//p' | while read -r name; do rm -f -- "$WORK/wheels/$name"; done
    fail "$(printf '%s\n' "$bad" | head -n1 | cut -d: -f1) arrived damaged and was thrown away; run again"
  fi
  [ -x "/usr/bin/python$PYTHON" ] || fail "rig.vllm.python: /usr/bin/python$PYTHON is not on this rig; install it, with its headers"
  free=$(free_bytes "$into")
  there=$(du -sB1 -- "$RELEASE" 2>/dev/null | cut -f1)
  [ $((free + ${there:-0})) -ge "$NEED" ] || fail "installing needs $(human "$NEED") in $into, the disk has $(human "$free"); free some"
  # uv lies in its wheel as a program beside nothing else.
  "/usr/bin/python$PYTHON" -I - "$WORK/wheels/uv.whl" "$WORK/uv" <<'END' || fail "uv could not be unpacked to $WORK; is the disk full?"
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(one for one in wheel.namelist() if one.endswith(".data/scripts/uv"))
    with wheel.open(name) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target)
END
  chmod 755 "$WORK/uv"
  printf '%s\n' "$REQUIREMENTS" | write "$WORK/requirements.txt" 644
  printf '%s\n' "$STEPS" | write "$WORK/steps.sh" 644
  : | write "$WORK/log" 644
  chmod -R go+rX "$WORK"
  install -d -m 755 "$into"
  install -d -m 755 -o "$BUILDER" -g "$BUILDER" "$RELEASE"
  shut_in --unit="$UNIT" --uid="$BUILDER" --gid="$BUILDER" -p WorkingDirectory="$RELEASE" \
    -p BindReadOnlyPaths="$WORK" -p BindPaths="$RELEASE" \
    -p StandardOutput="append:$WORK/log" -p StandardError="append:$WORK/log" \
    --setenv=WORK="$WORK" --setenv=RELEASE="$RELEASE" --setenv=PYTHON="/usr/bin/python$PYTHON" --setenv=INDEX="$INDEX" \
    --setenv=OFFLINE="$OFFLINE" --setenv=STUB="$STUB" --setenv=VERSION="$VERSION" --setenv=KERNELS="$KERNELS" \
    --setenv=HOME="$RELEASE/.cache/home" \
    -- sh "$WORK/steps.sh" || fail "systemd could not start the installation: $(last_words); see journalctl -u $UNIT on the rig"
  say "installing vLLM $VERSION as release $ID"
fi
unlock
progress() { grep -E '^(Using|Resolved|Prepared|Installed|Bytecode|Downloading|Downloaded|::)' "$WORK/log" | tail -n1 | tr -d ':' | cut -c1-100; }
follow "$UNIT"
if [ ! -e "$RELEASE/.done" ]; then
  reasons=$(grep -iE 'error|No space|hash mismatch|× |╰─▶|├─▶|not found' "$WORK/log" || tail -n 2 "$WORK/log")
  printf '%s\n' "$reasons" | grep . | tail -n 6 | cut -c1-300 | while IFS= read -r line; do why "$line"; done
  case $(systemctl show -P Result -- "$UNIT") in
    oom-kill) why "the rig ran out of memory" ;;
    exit-code | success) [ -s "$WORK/log" ] || why "it ended without a word: $(last_words)" ;;
    *) why "its unit ended by $(systemctl show -P Result -- "$UNIT")" ;;
  esac
  why "installing vLLM $VERSION failed, what runs goes on running; the whole log is $WORK/log on the rig; run again"
  exit 1
fi
lock
if have; then exit 0; fi
# Nothing but what the builder itself made becomes root's, and no link of it leads out, but for the interpreter.
strange=$(find "$RELEASE" \( ! -user "$BUILDER" -o ! -type f ! -type d ! -type l -o -type f -links +1 ! -path "$RELEASE/.cache/*" \
  -o -type l \( -lname '/*' -o -lname '*..*' \) ! -path "$RELEASE/bin/python" \) -print -quit)
case $strange in '') ;; *)
  fail "$strange is no file of this release; it was not installed, remove $RELEASE and run again" ;;
esac
[ "$(readlink -f -- "$RELEASE/bin/python")" = "$(readlink -f "/usr/bin/python$PYTHON")" ] || fail "$RELEASE/bin/python is another Python than /usr/bin/python$PYTHON; remove $RELEASE and run again"
chown -R --no-dereference root:root "$RELEASE" && chmod -R u=rwX,go=rX "$RELEASE"
{ printf '#!%s/bin/python\n' "$RELEASE"; printf '%s\n' "$SERVE"; } | write "$RELEASE/bin/serve" 755
printf '%s\n' "$REQUIREMENTS" | write "$RELEASE/requirements.txt" 644
[ ! -s "$RELEASE/.kernels" ] || why "FlashInfer's kernels could not be fetched: $(head -n1 "$RELEASE/.kernels" | cut -c1-200). A first start compiles what it uses, which takes minutes and needs nvcc; or put its wheels, flashinfer-cubin and flashinfer-jit-cache, into rig.vllm.lock"
rm -rf -- "$RELEASE/.done" "$RELEASE/.kernels" "$RELEASE/.lock"
printf '%s\n' "$MANIFEST" | write "$RELEASE/release.json" 644
rm -rf -- "$WORK"
say "vLLM $VERSION installed as release $ID"
