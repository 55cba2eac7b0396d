# Instances that swap places in one run stop for each other: the first to move stops the second, which then moves to where
# the first one was. If the second comes to nothing, both serve again as before.
# What a switch that succeeded leaves with those that it stopped for their place, until they have moved.
gave_way=/var/lib/rigwright/services/$NAME/gave_way
# take_back: who took the place of this one leaves it again, by $UNDO. What this one ran before can start then.
take_back() {
  [ -e "$gave_way" ] || return 0
  rm -f "$gave_way"
  [ -n "$UNDO" ] || return 0
  say "$NAME takes its place back"
  systemctl stop "$UNIT"
  (export RIGWRIGHT_LOCKED=yes; eval "$UNDO") || :
}
# However this ends without success, also before anything was changed.
come_to_nothing() {
  [ -e "$gave_way" ] || return 0
  lock
  take_back
  systemctl start "$UNIT" || :
}
trap '[ $? -eq 0 ] || come_to_nothing' EXIT
took_place() { # took_place UNIT …: these stopped, and are about to move
  for other; do
    at=/var/lib/rigwright/services/${other#rigwright-}
    [ ! -d "${at%.service}" ] || echo "$NAME" >"${at%.service}/gave_way"
  done
}
