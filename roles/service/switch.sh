# Makes instance $NAME run release $RELEASE with unit text $UNIT_TEXT and proves it: $HEALTH answers 200, and the answer to
# $BODY at $ASK has text at one of $EXPECTED. What ran before comes back when that fails. Units in $MAKE_ROOM hold its port
# or its GPUs and are about to leave them: they stop first, and run again when it fails. With $TAKES_UP, the start that
# runs, all that is new of the unit binds it as it is: nothing stops.
#
# $state/running is there while a switch is under way: the release that ran before it, or "nothing"; beside it that unit and
# that record. From its second line, "proven", on the new one counts. Whatever cuts a switch, the next one, or a rollback,
# begins with what this file says.
lock
own "$NAME"
# The plan stands on what the services of others leave.
[ "$BESIDE" = any ] || [ "$BESIDE" = "$(beside)" ] ||
  fail "$NAME: other services of this rig changed while this one was planned; nothing was changed, run again"
state=/var/lib/rigwright/services/$NAME
links=/opt/rigwright/services/$NAME
file=/etc/systemd/system/$UNIT
[ -d "$RELEASE" ] || fail "$NAME: $RELEASE is not there any more, another run removed it; run again"
install -d -m 755 /opt/rigwright/services "$links" "${state%/*}" "$state"
link() { ln -sfn -- "$1" "$links/.$2" && mv -fT -- "$links/.$2" "$links/$2"; }
target() { [ ! -L "$links/$1" ] || readlink -- "$links/$1"; }
# keep FILE COPY: in one step, times and mode with it.
keep() { cp -p -- "$1" "$2.rigwright-new" && sync -- "$2.rigwright-new" && mv -fT -- "$2.rigwright-new" "$2"; }
restart() {
  systemctl daemon-reload
  systemctl enable -q "$UNIT"
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  began=$(date '+%Y-%m-%d %H:%M:%S')
  old=$(systemctl show -P MainPID -- "$UNIT")
  case " $cut " in *" $UNIT "*) ;; *) quiet "$UNIT" ;; esac
  [ -n "$away" ] || read -r away _ </proc/uptime
  let_go "${old:-0}"
  systemctl restart "$UNIT" && started=0 || started=$?
  let_through "$UNIT"
  return "$started"
}
# What a unit says of the process that it starts, by its mark.
marked() { grep -m1 '^Environment=RIGWRIGHT_UNIT='; }
# begin: what the unit file says now is what runs.
begin() {
  if [ -z "$live" ]; then restart; return; fi
  began=$(date '+%Y-%m-%d %H:%M:%S')
  systemctl daemon-reload
  systemctl is-enabled -q "$UNIT" 2>/dev/null || systemctl enable -q "$UNIT"
  take_up "$UNIT"
}
# last_look UNIT: files were written since the wait, and whoever came meanwhile ends too. Who is never idle was waited for.
last_look() { case " $cut " in *" $1 "*) ;; *) drain "$1" 10 || : ;; esac; }
# let_go PID: an engine that shall end and waits for a client, for whom it does nothing any more, has three seconds; one that
# ends its requests by itself has as long as its unit gives it.
let_go() {
  [ "$1" -gt 0 ] || return 0
  {
    sleep "${LET_GO:-3}"
    case $(systemctl show -P SubState -- "$UNIT") in stop-sigterm) kill -KILL "$1" ;; esac
  } </dev/null >/dev/null 2>&1 9>&- &
}
tell_away() { [ -z "$served" ] || [ -z "$away" ] || say "$NAME served nobody for $(awk -v from="$away" '{ printf "%.1f", $1 - from }' /proc/uptime) s"; }
# met: a rig that follows a head has met it, at $MEETS. What the head answers is no proof without that.
met() {
  [ -n "${MEETS-}" ] || return 0
  [ -n "$(ss -Htn state established dst "${MEETS% *}" dport = ":${MEETS#* }" 2>/dev/null)" ]
}
healthy() { met && [ "$(curl -q -s --noproxy '*' -o /dev/null -m 5 -w '%{http_code}' -- "$HEALTH")" = 200 ]; }
ask() { # the answer's body; the key never shows in a process list
  { [ -z "$KEY" ] || printf 'header = "Authorization: Bearer %s"\n' "$(head -n1 "$KEY")"; } |
    curl -q -sS --noproxy '*' --config - --max-time "$TIMEOUT" -H 'Content-Type: application/json' -d "$BODY" -- \
      "$URL$ASK" 2>&1 | head -c 65537
}
proves() { # it answers with text; $answer is what it said
  answer=$(ask) || :
  # shellcheck disable=SC2086 # paths without blanks
  printf %s "$answer" | says $EXPECTED
}
# 0 when it serves; 1 when the engine ended or time is up.
await() {
  end=$(($(now) + TIMEOUT)) looked=0 crashes=0
  [ -z "$live" ] || crashes=$(systemctl show -P NRestarts -- "$UNIT")
  while [ "$(now)" -lt "$end" ]; do
    case $(systemctl show -P SubState -- "$UNIT")/$(systemctl show -P NRestarts -- "$UNIT") in
      running/"$crashes" | start*/0) ;;
      *) reason="the engine ended while starting"; return 1 ;;
    esac
    # Its record could not be read: nothing tells where it answers.
    [ -n "$HEALTH" ] || return 0
    if healthy; then
      if proves; then return 0; fi
      reason="it is up, but $ASK failed: $(printf %s "$answer" | head -c 200)"
      return 1
    fi
    sleep 0.25
    looked=$((looked + 1))
    [ $((looked % 40)) -ne 0 ] || say "$NAME: loading, $((looked / 4)) s"
  done
  reason="it did not become healthy within $TIMEOUT s"
  return 1
}
# Why it ended: what systemd and the kernel say of it, then what it said itself, errors before all else.
explain() {
  case $(systemctl show -P Result -- "$UNIT") in
    oom-kill) why "the kernel killed it, for the memory ran out; lower context, or serve a smaller model" ;;
    signal | core-dump)
      case $(systemctl show -P ExecMainStatus -- "$UNIT") in
        9) why "it was killed, as the kernel does when memory runs out: see dmesg" ;;
        *) why "it was ended by signal $(systemctl show -P ExecMainStatus -- "$UNIT")" ;;
      esac ;;
    timeout | resources | watchdog) why "systemd ended it: $(systemctl show -P Result -- "$UNIT")" ;;
  esac
  journal -u "$UNIT" --since "$began" -n 400 |
    grep -Ev '^(Start|Stopp)(ed|ing) |^$|^#[0-9]+ |^\[(New LWP|Thread debugging|Inferior)|^0x[0-9a-f]+ in |\[0x[0-9a-f]+\]$' |
    grep -Ev '^rigwright-[^ ]*: (Deactivated|Scheduled|Consumed|Failed with result|Main process exited, code=exited)' |
    awk '
      { last[NR] = $0 }
      / E |GGML_ASSERT|[Ee]rror|ERROR|[Ff]ail|[Dd]enied|[Aa]bort|[Kk]illed|[Ii]nvalid|[Ii]nsufficient|[Cc]annot|out of memory|No such/ { told[++n] = $0 }
      END {
        if (n) for (at = n > 6 ? n - 5 : 1; at <= n; at++) print told[at]
        else for (at = NR > 6 ? NR - 5 : 1; at <= NR; at++) print last[at]
      }' | cut -c1-300 | while read -r line; do why "$line"; done
}
# What was kept becomes the way back. Each step may be taken twice.
close_switch() {
  if [ -e "$state/running.service" ]; then
    case $(head -n1 "$state/running") in /*) link "$(head -n1 "$state/running")" previous ;; esac
    keep "$state/running.service" "$state/previous.service"
    if [ -e "$state/running.json" ]; then keep "$state/running.json" "$state/previous.json"; else rm -f "$state/previous.json"; fi
  fi
  rm -f "$state/running"
}
keep_running() {
  rm -f "$state"/running.* &&
    { [ ! -e "$file" ] || keep "$file" "$state/running.service"; } &&
    { [ ! -e "$PLAN_FILE" ] || keep "$PLAN_FILE" "$state/running.json"; } &&
    was=nothing && { [ ! -e "$file" ] || [ ! -L "$links/current" ] || was=$(readlink -- "$links/current"); } &&
    printf '%s\n' "$was" | write "$state/running" 644 && sync -- "$state"
}
if [ -e "$state/running" ]; then
  case $(sed -n 2p "$state/running") in proven) close_switch ;; esac
fi
# Versions before 0.2 moved the copies away before the mark: what lies there then was proven.
if [ -e "$state/running" ] && [ ! -e "$state/running.service" ]; then
  case $(head -n1 "$state/running") in /*) rm -f "$state/running" ;; esac
fi
# Another run may have done the same while this one waited for the lock.
if [ ! -e "$state/running" ] && [ "$(systemctl show -P InvocationID -- "$UNIT")" != "$SEEN" ] &&
  printf %s "$UNIT_TEXT" | cmp -s - "$file" && printf %s "$PLAN" | cmp -s - "$PLAN_FILE" &&
  [ "$(target current)" = "$RELEASE" ] && [ -n "$HEALTH" ] && healthy && proves; then
  say "$NAME serves at $SERVES: another run has done it"
  exit 0
fi
# What is about to stop ends its requests first, and until then nothing is changed.
served='' away='' cut='' live=''
! systemctl is-active -q "$UNIT" || served=yes
if [ -n "$TAKES_UP" ] && [ "$TAKES_UP" = "$(systemctl show -P InvocationID -- "$UNIT")" ] && [ -n "$served" ] &&
  [ ! -e "$state/running" ] && [ -z "$MAKE_ROOM" ] && [ "$(target current)" = "$RELEASE" ] &&
  [ "$(printf %s "$UNIT_TEXT" | marked)" = "$(marked <"$file")" ]; then
  live=yes
fi
for other in $MAKE_ROOM "$UNIT"; do
  [ -n "$live" ] || drain "$other" || { say "what $other has under way is cut"; cut="$cut $other"; }
done
# What serves now is kept until the new one is proven. What a switch that was cut kept is what was last proven, and stays.
was_cut=yes
if [ ! -e "$state/running" ]; then
  was_cut=
  said=$(keep_running 2>&1) || fail "$NAME: what runs now cannot be kept, so nothing was changed: $said"
fi
# Its model files are what its unit names. What they were is kept beside them and comes back with the unit that names it.
is_placed=yes
gone=$(printf %s "$UNIT_TEXT" | place) || is_placed=
if [ -z "$is_placed" ] || [ -n "$gone" ]; then
  [ ! -e "$state/running.service" ] || place <"$state/running.service" >/dev/null || :
  [ -n "$was_cut" ] || rm -f "$state/running"
  [ -n "$is_placed" ] || fail "$NAME: its model files could not be given their names; see the disk of the rig"
  fail "$NAME: $(printf %s "$gone" | tr '\n' ' ') is no longer on this rig as this release had it; deploy what you want instead"
fi
old_release=$(head -n1 "$state/running")
owed=$(cat "$state/running.stopped" 2>/dev/null || :)
stopped=
for other in $MAKE_ROOM; do
  systemctl is-active -q "$other" || continue
  say "$other stops: it leaves its place to $NAME"
  echo "$other" >>"$state/running.stopped"
  last_look "$other"
  systemctl stop "$other"
  stopped="$stopped $other"
done
give_back() { # those that stopped for what is not going to be
  for other in $owed $stopped; do
    case " $1 " in *" $other "*) ;; *) systemctl start --no-block "$other" || : ;; esac
  done
}
[ "$(target current)" = "$RELEASE" ] || link "$RELEASE" current
[ -z "$DEVICES" ] || printf %s "$DEVICES" | write "/etc/systemd/system/$DEVICES_UNIT" 644
printf %s "$UNIT_TEXT" | write "$file" 644
printf %s "$PLAN" | write "$PLAN_FILE" 644
begin || :
if await; then
  # Nothing removes a release that no service ran yet; this one has. Older ones that stay are those that came last.
  touch -- "$RELEASE/.served" 2>/dev/null || :
  # What ran before is kept for a rollback; a restart of the same thing must not push it out.
  if [ "$RELEASE" = "$old_release" ] && cmp -s "$state/running.service" "$file"; then
    rm -f "$state/running"
    give_back "$MAKE_ROOM"
  else
    printf '%s\nproven\n' "$old_release" | write "$state/running" 644
    close_switch
  fi
  rm -f "$state"/running.* "$gave_way"
  # shellcheck disable=SC2086 # names of units, one word each
  took_place $stopped
  forget_kept <"$file"
  tell_away
  set_watch
  # A template that no unit names; one of today may wait for its service.
  find /etc/rigwright/templates -name '*.jinja' -mmin +1440 2>/dev/null | while read -r at; do
    grep -qsF -- "$at" /etc/systemd/system/rigwright-*.service /var/lib/rigwright/services/*/*.service || rm -f -- "$at"
  done
  [ -z "$live" ] || say "$NAME goes on as it runs, under its new unit: nothing was restarted"
  say "$NAME serves at $SERVES"
  exit 0
fi
explain
if [ -e "$state/running.service" ]; then
  case $old_release in /*) link "$old_release" current ;; esac
  keep "$state/running.service" "$file"
  if [ -e "$state/running.json" ]; then keep "$state/running.json" "$PLAN_FILE"; else rm -f "$PLAN_FILE"; fi
  gone=$(place <"$file") || gone="its model files"
  [ -z "$gone" ] || say "$NAME: $(printf %s "$gone" | tr '\n' ' ') could not be brought back"
  failed=$reason
  take_back
  proof_in "$PLAN_FILE"
  # What ran all the time may serve again as soon as it may what it might before.
  if [ -z "$live" ] || ! { begin && await; }; then
    live=
    restart || :
  fi
  give_back ''
  if await; then
    rm -f "$state/running"
    rm -f "$state"/running.*
    tell_away
    fail "$NAME: $failed; the previous release is back${HEALTH:+ and serving}, see journalctl -u $UNIT"
  fi
  fail "$NAME: $failed, and so did the previous release: $reason; see journalctl -u $UNIT"
fi
systemctl disable -q --now "$UNIT" 2>/dev/null || :
systemctl reset-failed "$UNIT" 2>/dev/null || :
rm -f "$file" "$PLAN_FILE" "$links/current"
# Its keys came with it, unless another copy of the service has them too.
for other in "${file%/*}/rigwright-${NAME%@*}.service" "${file%/*}/rigwright-${NAME%@*}"@*.service; do
  [ ! -e "$other" ] || KEY=
done
[ -z "$KEY" ] || rm -f "$KEY"
systemctl daemon-reload
give_back ''
rm -f "$state/running"
rm -f "$state"/running.*
fail "$NAME: $reason; nothing ran before, the unit was taken away again"
