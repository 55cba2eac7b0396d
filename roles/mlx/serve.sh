# Serves a model by a daemon of launchd: a venv by a lock, the property list, and an answer as the proof. For macOS: what
# of the prelude is Linux's own is not used. LABEL, NAME, ACCOUNT, MODEL, PORT, OWN_NAME, SECONDS_TO_START, VERSION,
# PYTHON, BASE, DAEMONS, RELEASE_ID, LOCK, PLIST.
file=$DAEMONS/$LABEL.plist before=$BASE/before/$LABEL.plist release=$BASE/releases/$RELEASE_ID new='' switching=
log=/var/log/$LABEL.log

is_loaded() { launchctl print "system/$LABEL" >/dev/null 2>&1; }
unload() {
  is_loaded || return 0
  launchctl bootout "system/$LABEL" >/dev/null 2>&1 || :
  left=60 # bootout comes back while the process still ends
  while is_loaded; do
    [ $((left -= 1)) -ge 0 ] || fail "launchd does not let go of $LABEL; look with: launchctl print system/$LABEL"
    sleep 1
  done
}
taken() { lsof -nP -iTCP:"$PORT" -sTCP:LISTEN >/dev/null 2>&1; }
# get PATH [BODY]: what the server answers; a ~/.curlrc and a proxy have no say in it.
get() {
  if [ $# -gt 1 ]; then set -- "$1" -H 'Content-Type: application/json' -d "$2"; fi
  path=$1; shift
  curl -q -sf --noproxy '*' -m 60 "$@" "http://127.0.0.1:$PORT$path"
}
# What ran before runs again, whatever stopped this.
go_back() {
  status=$?
  [ -z "$new" ] || rm -rf -- "$new"
  if [ "$switching" ]; then
    switching=
    if [ -f "$log" ]; then tail -n 5 -- "$log" | while read -r line; do why "$line"; done; fi
    unload
    if [ -f "$before" ]; then
      mv -f -- "$before" "$file"
      launchctl bootstrap system "$file" && why "the daemon before is back"
    else
      rm -f -- "$file"
    fi
  fi
  exit "$status"
}
trap go_back EXIT
trap 'exit 1' INT TERM

[ "$(uname -s) $(uname -m)" = "Darwin arm64" ] || fail "MLX wants a Mac with Apple silicon; this is $(uname -s) $(uname -m)"
[ "$(id -u)" = 0 ] || fail "daemons are root's to make; log in as root, or use _sudo"
id -u -- "$ACCOUNT" >/dev/null 2>&1 || fail "this Mac has no account $ACCOUNT; name one that it has"
[ "$(id -u -- "$ACCOUNT")" != 0 ] || fail "$ACCOUNT is root; name another account"
[ -x "$PYTHON" ] || fail "there is no $PYTHON; install Python 3.12 from python.org, or name another in mlx.python"
[ "$(find -L "$PYTHON" -prune -user 0 ! -perm -0002 -print)" ] ||
  fail "others than root can change $PYTHON, and root would run it; name one of python.org in mlx.python"
for one in config.json tokenizer_config.json; do
  [ -f "$MODEL/$one" ] || fail "$MODEL has no $one; download the whole repository there: hf download REPO --local-dir"
done
[ "$(find -L "$MODEL" -maxdepth 1 -name '*.safetensors' -size +0 -print)" ] || fail "$MODEL has no weights"
if [ -e "$file" ] && ! grep -q '<key>RIGWRIGHT</key>' "$file"; then
  fail "$file is not ours; choose another name than $NAME, or move it away"
fi

if [ ! -e "$release/made" ]; then
  say "making a venv with mlx-lm $VERSION"
  mkdir -p -- "$BASE/releases"
  rm -rf -- "$release"
  new=$release
  "$PYTHON" -I -m venv "$new" || fail "$PYTHON makes no venv"
  printf '%s\n' "$LOCK" >"$new/requirements.txt"
  # Wheels alone: none of them runs anything while it is installed.
  "$PYTHON" -I -m pip --isolated --disable-pip-version-check --python "$new" install -q --no-deps --require-hashes \
    --only-binary :all: -r "$new/requirements.txt" || fail "the packages could not be installed; see above, and run again"
  [ -x "$new/bin/mlx_lm.server" ] || fail "mlx-lm $VERSION brought no mlx_lm.server"
  : >"$new/made"
  new=''
fi

mkdir -p -- "$BASE/before"
printf '%s' "$PLIST" >"$file.rigwright-new" && chmod 644 "$file.rigwright-new"
plutil -lint -s "$file.rigwright-new" || fail "plutil refuses the property list of $NAME"
rm -f -- "$before"
[ ! -e "$file" ] || cp -p -- "$file" "$before"
switching=yes
unload
! taken || fail "port $PORT is taken by another program; give $NAME another one"
mv -f -- "$file.rigwright-new" "$file"
launchctl bootstrap system "$file" || fail "launchd does not take $file"
launchctl kickstart "system/$LABEL" >/dev/null 2>&1 || : # already started by RunAtLoad
say "waiting for $NAME to load $MODEL"
left=$SECONDS_TO_START
until get /health >/dev/null 2>&1; do
  [ $((left -= 1)) -ge 0 ] || fail "$NAME did not load within $SECONDS_TO_START s"
  sleep 1
done
ask="{\"model\": \"$OWN_NAME\", \"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}]}"
get /v1/chat/completions "$ask" | grep -q '"completion_tokens"' || fail "$NAME is healthy and completes nothing"
switching=
say "$NAME serves on 127.0.0.1:$PORT"
