# ours: what rigwright put on this rig besides packages and model files, a path a line, and `account NAME` of the builder.
# Removal goes by this list, not by whose folder it is: a folder may be a link to a disk with other things.
ours() {
  for at in /etc/systemd/system/rigwright-*.service /etc/systemd/system/rigwright.*.service /etc/systemd/system/rigwright.*.timer \
    /etc/apt/sources.list.d/rigwright-* /etc/apt/preferences.d/rigwright-* /etc/apt/apt.conf.d/*rigwright-* \
    /etc/yum.repos.d/rigwright-*.repo /etc/pki/rpm-gpg/rigwright-* /etc/modprobe.d/rigwright-*.conf; do
    [ ! -f "$at" ] || ! head -n1 -- "$at" | grep -q '^# Written by rigwright' || echo "$at"
  done
  for at in /opt/rigwright/*/releases /opt/rigwright/services "$CONFIG"/*.json "$CONFIG"/*.key "$CONFIG/templates" \
    /opt/rigwright/cuda/[0-9]* /opt/rigwright/cuda/.[0-9]* "$STATE/cuda" \
    /opt/rigwright/ollama/model.sh /opt/rigwright/ollama/requests "$STATE/ollama" \
    "$STATE/build" "$STATE/ccache" "$STATE/refs" "$STATE/services" "$STATE/nvidia" "$STATE/account.created" \
    /opt/rigwright/watch.sh /run/rigwright.watch /opt/rigwright/nvidia/power.sh "$CONFIG/nvidia.power" \
    /opt/rigwright/tuning.sh "$CONFIG/tuning" /run/rigwright.tuning "$RECORD" "$RECORD.before" "$BROUGHT"; do
    if [ -e "$at" ] || [ -L "$at" ]; then echo "$at"; fi
  done
  case $(getent passwd "$BUILDER") in *:"$COMMENT":*) echo "account $BUILDER" ;; esac
}
