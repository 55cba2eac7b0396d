# Keeps the driver as it is: $HELD stays as it is until the next deploy, nouveau stays away, and the device files are made at
# boot. Files of ours alone are written; systemd reads its units anew only where one changed, as containers lose their GPUs.
lock
mkdir -p "$STATE"
put() { # put FILE TEXT: succeeds where that changed something
  printf %s "$2" >"$work/text"
  if [ -z "$2" ]; then
    [ -e "$1" ] || return 1
    rm -f -- "$1" && return
  elif cmp -s "$work/text" "$1"; then return 1
  else
    mkdir -p "$(dirname -- "$1")"
    write "$1" 644 <"$work/text" && return
  fi
  fail "$1 cannot be written"
}
BOOT=/etc/modprobe.d/rigwright-nvidia.conf
is_stale=$STALE
if put "$BOOT" "$MODPROBE"; then is_stale=yes; fi
if command -v apt-mark >/dev/null; then put /etc/apt/apt.conf.d/52rigwright-nvidia "$UNATTENDED" || :; fi
[ -e "$STATE/held" ] || : >"$STATE/held"
# shellcheck disable=SC2086 # names, one word each
printf '%s\n' $HELD | grep . | sort -u >"$work/wanted" || :
holds >"$work/held"
sort -u "$STATE/held" | comm -23 - "$work/wanted" | comm -12 - "$work/held" >"$work/free"
# shellcheck disable=SC2046 # names, one word each
[ ! -s "$work/free" ] || unhold $(cat "$work/free") || why "these stay held: $(tr '\n' ' ' <"$work/free")"
comm -23 "$work/wanted" "$work/held" >"$work/new"
{ sort -u "$STATE/held" | comm -12 - "$work/wanted"; cat "$work/new"; } | sort -u >"$work/ours"
cmp -s "$work/ours" "$STATE/held" || write "$STATE/held" 644 <"$work/ours"
# shellcheck disable=SC2046 # names, one word each
[ ! -s "$work/new" ] || { say "holding $(tr '\n' ' ' <"$work/new")"; hold $(cat "$work/new"); } || fail "holding failed: $(tail -n 1 "$log")"
# What the next boot loads by: without it the next run sees that there is something to do.
stale() {
  rm -f -- "$BOOT"
  fail "$1 failed: $(tail -n 1 "$log"); the next boot may load what was there before"
}
if [ -n "$is_stale" ]; then
  if command -v update-initramfs >/dev/null; then
    say "making the initramfs anew"
    watched update-initramfs -u -k all || stale update-initramfs
  elif command -v dracut >/dev/null; then
    say "making the initramfs anew"
    watched dracut --regenerate-all --force || stale dracut
  fi
fi
# Services may want it that run on a driver of the owner's.
if [ -n "$DEVICES" ] && put "/etc/systemd/system/$DEVICES_UNIT" "$DEVICES"; then
  systemctl daemon-reload
  systemctl enable -q "$DEVICES_UNIT"
fi
if [ -n "$CDI" ] && command -v nvidia-ctk >/dev/null; then
  nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml >"$log" 2>&1 || why "nvidia-ctk cdi generate failed: $(tail -n 1 "$log")"
fi
