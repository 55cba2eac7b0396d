# A service that several rigs serve together: its processes meet once, when they start, and none of them can come back alone. A
# head that starts anew waits for ever for those that a head before it had; a head whose worker died answers 200 where its health
# is asked, and nothing else. So whoever has lost another one starts anew itself, and a start meets only who starts too: then it
# is a group again. Nobody needs to reach another rig for that but by the connection that the engine itself keeps.
#
# Source: vLLM 0.32.0, two rigs: while the group is whole each worker has one connection to the port at which they met.
# others: the addresses that this rig must be joined with, from the leaves of its record in $found; empty for no group.
others() {
  rank=$(number cluster.rank) port=$(number cluster.port)
  [ -n "$rank" ] && [ -n "$port" ] || return 0
  printf '%s\n' "$found" | sed -n 's/^cluster\.members\.\([0-9]\{1,3\}\)\.address "\([0-9a-fA-F.:]*\)"$/\1 \2/p' |
    while read -r at address; do
      case $rank/$at in 0/0) ;; 0/* | */0) printf '%s\n' "$address" ;; esac
    done
}
# joined STATE ADDRESS …: whether each of them has its connection with this rig, in this state of TCP.
joined() {
  state=$1 side=dport
  [ "$rank" -ne 0 ] || side=sport
  shift
  for address; do
    [ -n "$(ss -Htn state "$state" dst "$address" "$side" = ":$port" 2>/dev/null)" ] || return 1
  done
}
# out_of_reach URL: whether nothing comes back from there, not even that nobody listens: that comes at once.
out_of_reach() {
  said=$(curl -q -s --noproxy '*' -o /dev/null -m 4 -w '%{time_connect} %{time_total}' -- "$1") || :
  case $said in '0.000000 '[1-9]* | '0 '[1-9]*) ;; *) return 1 ;; esac
}
# lost_group STATUS: whether unit $unit has to start anew, and in $why for what. What is kept of each: its invocation, whether it
# has been whole, when the first one was missed, since when its head is out of reach.
lost_group() {
  # shellcheck disable=SC2046 # addresses, one word each
  set -- "$1" $(others)
  [ $# -gt 1 ] || return 1
  status=$1 at=/run/rigwright.watch/$NAME.group clocked=$(clock) seen='' whole=no missed=0 silent=0
  shift
  # $rank and $port of `others` were those of a shell of its own.
  rank=$(number cluster.rank) port=$(number cluster.port)
  runs=$(systemctl show -P InvocationID -- "$unit")
  { read -r seen whole missed silent <"$at"; } 2>/dev/null || :
  [ "$seen" = "${runs:--}" ] || whole=no missed=0 silent=0
  if joined established "$@"; then whole=yes missed=0
  # It may have been whole between two looks: what the other side closed shows it.
  elif { [ "$whole" = yes ] || joined close-wait "$@"; } && [ "$missed" -eq 0 ]; then whole=yes missed=$clocked
  fi
  if [ "$status" != "$AWAY" ]; then silent=0
  elif [ "$whole" = yes ] && [ "$silent" -eq 0 ]; then silent=$((clocked - 4)) # it was when the look began
  fi
  install -d -m 755 "${at%/*}"
  echo "${runs:--} $whole $missed $silent" >"$at.new" && mv -f "$at.new" "$at"
  if [ "$missed" -gt 0 ] && [ $((clocked - missed)) -ge 4 ]; then
    why="one of its group has gone"
    [ "$rank" -eq 0 ] || why="its head has gone"
    return 0
  fi
  [ "$silent" -gt 0 ] && [ $((clocked - silent)) -ge 15 ] && why="its head is out of reach for $((clocked - silent)) s"
}
# start_group_anew: what runs serves nobody any more, so that there is nothing to wait for.
start_group_anew() {
  exec 9>>/run/rigwright.lock
  chmod 600 /run/rigwright.lock
  flock -n 9 || return 0 # a deploy is at work on this rig
  systemctl is-active -q "$unit" || return 0
  echo "<3>$unit: $why: it starts anew"
  rm -f "/run/rigwright.watch/$NAME.group"
  systemctl kill -s KILL -- "$unit" 2>/dev/null || :
  systemctl restart "$unit"
}
