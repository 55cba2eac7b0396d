# Makes instance $NAME run release $RELEASE with unit text $UNIT_TEXT and proves it: $HEALTH answers 200, and the answer to
# $BODY at $ASK holds $EXPECTED. What ran before comes back when that fails. Units in $MAKE_ROOM hold its port or its GPUs
# and are about to leave them: they stop first, and run again when it fails. Every step is checked anew by the next run,
# so an interruption anywhere is finished by it.
lock
state=/var/lib/rigwright/services/$NAME
links=/opt/rigwright/services/$NAME
file=/etc/systemd/system/$UNIT
mkdir -p "$state" "$links"
link() { ln -sfn -- "$1" "$links/.$2" && mv -fT -- "$links/.$2" "$links/$2"; }
restart() {
  systemctl daemon-reload
  systemctl enable -q "$UNIT"
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  began=$(date '+%Y-%m-%d %H:%M:%S')
  systemctl restart "$UNIT"
}
ask() { # ask PATH [CURL OPTION ...]: the answer's body; the key never shows in a process list
  path=$1
  shift
  { [ -z "$KEY" ] || printf 'header = "Authorization: Bearer %s"\n' "$(head -n1 "$KEY")"; } |
    curl -sS --noproxy '*' --config - --max-time "$TIMEOUT" "$@" "$URL$path" 2>&1
}
# 0 when it serves; 1 when the engine ended or time is up.
await() {
  waited=0 looked=0
  while [ "$waited" -lt "$TIMEOUT" ]; do
    case $(systemctl show -P SubState -- "$UNIT")/$(systemctl show -P NRestarts -- "$UNIT") in
      running/0 | start*/0) ;;
      *) reason="the engine ended while starting"; return 1 ;;
    esac
    # Its record could not be read: nothing tells where it answers.
    [ -n "$HEALTH" ] || return 0
    if [ "$(curl -s --noproxy '*' -o /dev/null -m 5 -w '%{http_code}' "$HEALTH")" = 200 ]; then
      answer=$(ask "$ASK" -H 'Content-Type: application/json' -d "$BODY") || :
      case $answer in *"$EXPECTED"*) return 0 ;; esac
      reason="it is up, but $ASK failed: $(printf %s "$answer" | head -c 200)"
      return 1
    fi
    sleep 0.25
    looked=$((looked + 1)) waited=$((looked / 4))
    [ $((looked % 40)) -ne 0 ] || say "$NAME: loading, $waited s"
  done
  reason="it did not become healthy within $TIMEOUT s"
  return 1
}
# Its model files are what its unit names. What they were is kept beside them and comes back with the unit that names it.
gone=$(printf %s "$UNIT_TEXT" | place) || fail "$NAME: its model files could not be given their names; see the disk of the rig"
[ -z "$gone" ] || fail "$NAME: $(echo "$gone" | tr '\n' ' ') is no longer on this rig as this release had it; deploy what you want instead"
# What serves now is kept until the new one is proven. A switch that was cut short left its own copy, and that one is
# what was last proven: it is not replaced by what the cut left behind.
if [ ! -e "$state/running" ]; then
  rm -f "$state"/running.*
  [ ! -e "$file" ] || cp -p "$file" "$state/running.service"
  [ ! -e "$PLAN_FILE" ] || cp -p "$PLAN_FILE" "$state/running.json"
  { readlink "$links/current" || :; } >"$state/running.new"
  mv "$state/running.new" "$state/running"
fi
old_release=$(cat "$state/running")
stopped=
for other in $MAKE_ROOM; do
  systemctl is-active -q "$other" || continue
  say "$other stops: it leaves its place to $NAME"
  systemctl stop "$other"
  stopped="$stopped $other"
done
give_back() { for other in $stopped; do systemctl start --no-block "$other" || :; done; }
[ "$RELEASE" = "$old_release" ] || link "$RELEASE" current
printf %s "$UNIT_TEXT" | write "$file" 644
printf %s "$PLAN" | write "$PLAN_FILE" 644
restart || :
if await; then
  # What ran before is kept for a rollback; a restart of the same thing must not push it out.
  if [ "$RELEASE" != "$old_release" ] || ! cmp -s "$state/running.service" "$file"; then
    [ -z "$old_release" ] || link "$old_release" previous
    [ ! -e "$state/running.service" ] || mv -f "$state/running.service" "$state/previous.service"
    [ ! -e "$state/running.json" ] || mv -f "$state/running.json" "$state/previous.json"
  fi
  rm -f "$state/running" "$state"/running.*
  forget_kept <"$file"
  say "$NAME serves at $URL"
  exit 0
fi
journalctl -u "$UNIT" --since "$began" -n 60 -o cat --no-pager | grep -Ev '^(Start|Stopp)(ed|ing)|^rigwright-|^$' | tail -n 6 | cut -c1-300 | while read -r line; do why "$line"; done
if [ -n "$old_release" ] && [ -e "$state/running.service" ]; then
  link "$old_release" current
  mv -f "$state/running.service" "$file"
  [ ! -e "$state/running.json" ] || mv -f "$state/running.json" "$PLAN_FILE"
  rm -f "$state/running"
  gone=$(place <"$file") || gone="its model files"
  [ -z "$gone" ] || say "$NAME: $(echo "$gone" | tr '\n' ' ') could not be brought back"
  failed=$reason URL=$OLD_URL KEY=$OLD_KEY HEALTH=$OLD_HEALTH ASK=$OLD_ASK BODY=$OLD_BODY EXPECTED=$OLD_EXPECTED
  restart || :
  give_back
  if await; then fail "$NAME: $failed; the previous release is back${HEALTH:+ and serving}, see journalctl -u $UNIT"; fi
  fail "$NAME: $failed, and so did the previous release: $reason; see journalctl -u $UNIT"
fi
systemctl disable -q --now "$UNIT" 2>/dev/null || :
systemctl reset-failed "$UNIT" 2>/dev/null || :
rm -f "$file" "$PLAN_FILE" "$links/current" "$state/running"
systemctl daemon-reload
give_back
fail "$NAME: $reason; nothing ran before, the unit was taken away again"
