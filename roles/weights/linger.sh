# Runs as long as a model file is offered to other rigs, and takes the offer away: where the file goes, where its download
# has ended and nobody asked for a minute.
trap 'exit 0' TERM INT
trap 'systemctl stop rigwright-share.socket; rm -rf -- "$SHARED" "$SHARE_UNITS/rigwright-share.socket" "$SHARE_UNITS/rigwright-share@.service" "$SHARE_UNITS/rigwright-sharing.service"; systemctl daemon-reload' EXIT
asked=$(date +%s) gone=0
while [ $(($(date +%s) - asked)) -lt 60 ] && [ "$gone" -lt 3 ]; do
  sleep 1
  if [ -e "$SHARED/grows" ]; then
    case $(systemctl show -P ActiveState -- "$GROWS_BY") in inactive | failed) rm -f -- "$SHARED/grows" ;; esac
  fi
  if [ -e "$SHARED/file" ]; then gone=0; else gone=$((gone + 1)); fi
  if [ -e "$SHARED/grows" ] || [ "$(systemctl show -P NConnections rigwright-share.socket)" != 0 ]; then asked=$(date +%s); fi
done
