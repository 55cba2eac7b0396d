# A model file for the rigs behind this one, also while it grows. systemd listens at $SHARE_AT, for the addresses $BEHIND
# alone, and starts hand.sh for each connection: an account of its own, without a network, which is given the open file.
SHARED=/run/rigwright-share
SHARE_UNITS=/run/systemd/system
# offer FILE SIZE [UNIT]: UNIT is the download that it still grows by. A rig that cannot offer it says so: the others go round.
offer() {
  [ -n "${SHARE_AT-}" ] && [ -n "${BEHIND-}" ] && [ ${#SHA256} -eq 64 ] && [ -n "$2" ] || return 0
  # What was offered before takes itself away.
  systemctl stop rigwright-sharing.service 2>/dev/null || :
  install -d -m 755 -- "$SHARED" "$SHARE_UNITS"
  point_to "$1"
  rm -f -- "$SHARED/grows"
  [ -z "${3-}" ] || : >"$SHARED/grows"
  printf '%s\n' "$HAND" | write "$SHARED/hand.sh" 644
  printf '%s\n' "$LINGER" | write "$SHARED/linger.sh" 644
  printf '%s\n' '[Unit]' 'Description=A model file for other rigs, until they have it' CollectMode=inactive-or-failed \
    '[Service]' Type=exec "ExecStart=/bin/sh $SHARED/linger.sh" RuntimeMaxSec=1d \
    "Environment=SHARED=$SHARED SHARE_UNITS=$SHARE_UNITS GROWS_BY=${3-}" |
    write "$SHARE_UNITS/rigwright-sharing.service" 644
  printf '%s\n' '[Unit]' 'Description=A model file for other rigs' BindsTo=rigwright-sharing.service \
    After=rigwright-sharing.service '[Socket]' "ListenStream=$SHARE_AT" Accept=yes MaxConnections=4 \
    IPAddressDeny=any "IPAddressAllow=$BEHIND" |
    write "$SHARE_UNITS/rigwright-share.socket" 644
  {
    printf '%s\n' '[Unit]' 'Description=A model file for another rig' CollectMode=inactive-or-failed \
      BindsTo=rigwright-sharing.service '[Service]' "ExecStart=/bin/sh $SHARED/hand.sh" \
      "Environment=SUM=$SHA256 SIZE=$2 GROWS=$SHARED/grows \"BEHIND=$BEHIND\"" \
      "StandardInput=file:$SHARED/file" StandardOutput=socket StandardError=null \
      DynamicUser=yes PrivateNetwork=yes MemoryMax=256M TasksMax=16 RuntimeMaxSec=1d
    walls
  } | write "$SHARE_UNITS/rigwright-share@.service" 644
  systemctl daemon-reload
  if ! systemctl start rigwright-sharing.service 2>/dev/null || ! systemctl start rigwright-share.socket 2>/dev/null; then
    systemctl stop rigwright-sharing.service 2>/dev/null || :
    say "${1##*/} cannot be handed on from $SHARE_AT, the rigs behind download it themselves; see journalctl -u rigwright-share.socket"
  fi
}
point_to() { # what is handed on lies there from now on
  [ -d "$SHARED" ] || return 0
  ln -sfn -- "$1" "$SHARED/file.new" && mv -fT -- "$SHARED/file.new" "$SHARED/file"
}
