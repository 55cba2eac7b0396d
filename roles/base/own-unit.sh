# are_ours FILE …: what is there and was not written by rigwright is never overwritten.
are_ours() {
  for at; do
    [ ! -e "$at" ] || head -n1 -- "$at" | grep -q '^# Written by rigwright' || fail "$at was not written by rigwright; it stays"
  done
}
# own_unit UNIT TEXT: has a unit of ours, on at each boot. Containers lose their GPU when systemd reads its units anew: only
# where it may know another text of this one.
own_unit() {
  if [ "$(cat -- "/etc/systemd/system/$1" 2>/dev/null && echo .)" != "$2." ]; then
    was_there=
    [ ! -e "/etc/systemd/system/$1" ] || was_there=yes
    printf %s "$2" | write "/etc/systemd/system/$1" 644
    [ -z "$was_there" ] || systemctl daemon-reload
  fi
  wanted_by multi-user.target "$1"
  systemctl reset-failed "$1" 2>/dev/null || :
}
