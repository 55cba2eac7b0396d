# Looks whether an instance still answers, as the unit rigwright.watch.NAME.service has it run: `look`, shut in, asks it;
# `judge`, as root, counts, and restarts what gave no answer for as long as its record says. llama-server can hang for ever and
# call itself healthy: llama.cpp #27388, #27604.
#
# It asks where the engine tells of its work, for that goes through the loop that does the work: a server that is busy and
# gets on answers within its patience, and is never touched. A completion would push a conversation out of the slot, so one of
# one token is asked for where that says nothing, before the word is said that ends it, and once an hour of quiet.
# Exit codes of `look`: 0 it completes, 10 it answers, 20 it is there and does not answer, 30 the rig of its head does not
# answer; anything else, nobody can tell.
PROVEN=0 ANSWERS=10 SILENT=20 AWAY=30
clock() { read -r up _ </proc/uptime && echo "${up%.*}"; }
number() { printf '%s\n' "$found" | sed -n "s/^$1 \([0-9]\{1,6\}\)\$/\1/p" | head -n1; }
# reach SECONDS PATH [BODY]: CODE; 000 is somebody who takes a connection and says nothing, empty where nobody takes one.
reach() {
  said=$({ [ -z "$KEY" ] || printf 'header = "Authorization: Bearer %s"\n' "$(head -n1 "$CREDENTIALS_DIRECTORY/api-key")"; } |
    curl -q -s --noproxy '*' --config - -o /dev/null -m "$1" --max-filesize 4194304 -w '%{http_code} %{time_connect}' \
    ${3+-H 'Content-Type: application/json' -d "$3"} -- "$URL$2") || :
  case $said in '000 0.000000' | '000 0') ;; *) echo "${said%% *}" ;; esac
}
look() {
  proof_in "/etc/rigwright/$NAME.json"
  [ -n "$URL" ] || exit 1
  # The head of a group asks itself for completions. The others ask whether it is there.
  case $(number cluster.rank) in
    '' | 0) ;;
    *) if out_of_reach "$HEALTH"; then exit "$AWAY"; else exit "$ANSWERS"; fi ;;
  esac
  limit=$(number watch_seconds) limit=${limit:-300} work=$(leaf work.path) since=0
  [ "$limit" -gt 0 ] || exit "$ANSWERS" # looked at for its group alone
  { read -r _ _ _ since <"/run/rigwright.watch/$NAME"; } 2>/dev/null || since=$(clock)
  if [ -n "$work" ]; then
    case $(reach $((limit / 10)) "$work") in
      '') exit 1 ;;
      000 | 500 | 502) ;;
      *) [ $(($(clock) - since)) -ge 3600 ] || exit "$ANSWERS" ;;
    esac
  fi
  [ -n "$ASK" ] || exit 1
  case $(reach $((limit / 5)) "$ASK" "$(printf %s "$BODY" | sed 's/"max_tokens":[0-9]*/"max_tokens":1/')") in
    200) exit "$PROVEN" ;;
    000 | 500 | 502) exit "$SILENT" ;;
  esac
  exit 1
}
# What is kept of each: its invocation, the looks in a row without an answer, when the first was, when it last completed.
judge() {
  unit=rigwright-$NAME.service
  found=$(leaves <"/etc/rigwright/$NAME.json") || return 0
  if lost_group "${EXIT_STATUS-}"; then
    start_group_anew
    return 0
  fi
  at=/run/rigwright.watch/$NAME
  limit=$(number watch_seconds) limit=${limit:-300} began=$(clock) seen='' silent=0 first=0 proven=$(clock)
  { read -r seen silent first proven <"$at"; } 2>/dev/null || :
  runs=$(systemctl show -P InvocationID -- "$unit")
  [ "$seen" = "$runs" ] || silent=0
  case ${EXIT_STATUS-} in
    "$SILENT") silent=$((silent + 1)) ;;
    "$PROVEN") silent=0 proven=$began ;;
    *) silent=0 ;;
  esac
  # It was silent when the look began.
  [ "$silent" -ne 1 ] || first=$((began - limit * 3 / 10))
  install -d -m 755 "${at%/*}"
  echo "${runs:--} $silent $first $proven" >"$at.new" && chmod 644 "$at.new" && mv -f "$at.new" "$at"
  [ "$silent" -gt 0 ] || return 0
  waited=$((began - first))
  if [ "$silent" -lt 3 ] || [ "$waited" -lt "$limit" ]; then
    echo "<4>$unit takes connections and gave no answer for $waited s; at $limit s it is restarted"
    return 0
  fi
  exec 9>>/run/rigwright.lock
  chmod 600 /run/rigwright.lock
  flock -n 9 || return 0 # a deploy is at work on this rig
  systemctl is-active -q "$unit" || return 0
  told=/var/lib/rigwright/services/$NAME/restarts
  [ -d "${told%/*}" ] || return 0
  recent=$(awk -v from="$(($(date +%s) - 21600))" '$1 > from' "$told" 2>/dev/null | wc -l)
  if [ "$recent" -ge 3 ]; then
    echo "<3>$unit gave no answer for $waited s; it was restarted $recent times within 6 hours, so it is left as it is: see its log, deploy again when it is mended"
    return 0
  fi
  echo "<3>$unit takes connections and gave no answer for $waited s: it is restarted"
  { tail -n 99 "$told" 2>/dev/null || :; date +%s; } >"$told.new" && mv -f "$told.new" "$told"
  rm -f "$at"
  systemctl restart "$unit"
}
"$1"
