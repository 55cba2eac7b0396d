# Whose services are whose: a record names the inventory that deployed its service. $OWNERS are the names of the one that runs
# this now; what nobody signed is everybody's.
owner_of() { # owner_of INSTANCE
  # Of a damaged record the one before it tells.
  sed -n 's/.*"owner":"\([A-Za-z0-9._-]*\)".*/\1/p' "/etc/rigwright/$1.json" \
    "/var/lib/rigwright/services/$1/previous.json" 2>/dev/null | head -n1
}
is_anothers() { # is_anothers INSTANCE
  signed=$(owner_of "$1")
  case " $OWNERS " in *" $signed "*) return 1 ;; esac
  [ -n "$signed" ]
}
# Under the lock: another run may have taken the name since this one looked.
own() { ! is_anothers "$1" || fail "$1 on this rig is of the inventory $(owner_of "$1"); nothing was changed, run again"; }
# beside: what lies here of other services than $SERVICES: a line "SUM NAME" each.
beside() {
  for at in /etc/rigwright/*.json; do
    at=${at##*/} at=${at%.json}
    case $at in '' | [!a-z0-9]* | *[!a-z0-9@-]*) continue ;; esac
    case " $SERVICES " in *" ${at%@*} "*) continue ;; esac
    [ ! -f "/etc/rigwright/$at.json" ] || [ ! -s "/etc/rigwright/$at.json" ] || echo "$(head -c 1048576 -- "/etc/rigwright/$at.json" | sha256sum | cut -c1-64) $at"
  done
}
