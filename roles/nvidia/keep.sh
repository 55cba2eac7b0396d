# Keeps the driver as it is: $HELD stays as it is until the next deploy, nouveau stays away, and the device files are made at
# boot. Files of ours alone are written; systemd reads its units anew only where one changed, as containers lose their GPUs.
lock
mkdir -p "$STATE"
put() { # put FILE TEXT: succeeds where that changed something
  if [ -z "$2" ]; then [ -e "$1" ] && rm -f -- "$1"; return; fi
  ! printf %s "$2" | cmp -s - "$1" || return 1
  mkdir -p "$(dirname -- "$1")"
  printf %s "$2" | write "$1" 644
}
is_stale=$STALE
put /etc/modprobe.d/rigwright-nvidia.conf "$MODPROBE" && is_stale=yes
if command -v apt-mark >/dev/null; then
  put /etc/apt/apt.conf.d/52rigwright-nvidia "$UNATTENDED" || :
  has() { mark showhold | sort -u; }
  hold() { mark hold "$@" >"$log" 2>&1; }
  free() { mark unhold "$@" >"$log" 2>&1; }
else
  has() { dnf -q versionlock list 2>/dev/null | sed -nE 's/^(Package name: )?([a-z0-9][a-z0-9+._-]*)-[0-9]*:?[0-9].*$/\2/p; s/^Package name: //p' | sort -u; }
  hold() { dnf -q versionlock add "$@" >"$log" 2>&1; }
  free() { dnf -q versionlock delete "$@" >"$log" 2>&1; }
fi
touch "$STATE/held"
# shellcheck disable=SC2086 # names, one word each
# shellcheck disable=SC2086 # names, one word each
printf '%s\n' $HELD | grep . | sort -u >"$work/wanted" || :
has >"$work/held"
sort -u "$STATE/held" | comm -23 - "$work/wanted" | comm -12 - "$work/held" >"$work/free"
# shellcheck disable=SC2046 # names, one word each
[ ! -s "$work/free" ] || free $(cat "$work/free") || why "these stay held: $(tr '\n' ' ' <"$work/free")"
comm -23 "$work/wanted" "$work/held" >"$work/new"
{ sort -u "$STATE/held" | comm -12 - "$work/wanted"; cat "$work/new"; } | sort -u | write "$STATE/held" 644
# shellcheck disable=SC2046
[ ! -s "$work/new" ] || { say "holding $(tr '\n' ' ' <"$work/new")"; hold $(cat "$work/new"); } || fail "holding failed: $(tail -n 1 "$log")"
if [ -n "$is_stale" ]; then
  if command -v update-initramfs >/dev/null; then
    say "making the initramfs anew"
    watched update-initramfs -u -k all || fail "update-initramfs failed: $(tail -n 1 "$log"); the next boot may load what was there before"
  elif command -v dracut >/dev/null; then
    say "making the initramfs anew"
    watched dracut --regenerate-all --force || fail "dracut failed: $(tail -n 1 "$log"); the next boot may load what was there before"
  fi
fi
if put "/etc/systemd/system/$DEVICES_UNIT" "$DEVICES"; then systemctl daemon-reload; fi
if [ -n "$CDI" ] && command -v nvidia-ctk >/dev/null; then
  nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml >"$log" 2>&1 || why "nvidia-ctk cdi generate failed: $(tail -n 1 "$log")"
fi
