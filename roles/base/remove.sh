# Takes away what rigwright brought. A unit, a package or a file that is not ours stays, and is named.
lock
if [ -n "$(others)" ]; then
  remove_own
  exit 0
fi
# Timers before what they start, which they would start once more.
while IFS= read -r file; do
  case $file in /etc/systemd/system/*) ;; *) continue ;; esac
  drain "${file##*/}" || say "what it has under way is cut"
  remove_unit "${file##*/}"
  say "${file##*/} removed"
done <<END
$(ours | grep '\.timer$')
$(ours | grep -v '\.timer$')
END
for file in /etc/systemd/system/rigwright[-.]*.service; do
  [ ! -e "$file" ] || say "$file is not ours, it stays"
done
find /etc/systemd/system -path '*.wants/rigwright[-.]*.service' -xtype l -delete
for unit in $(systemctl list-units --all --plain --no-legend 'rigwright-build-*' 'rigwright-download-*' rigwright-sharing.service | awk '{ print $1 }'); do
  systemctl stop "$unit" 2>/dev/null || :
  systemctl reset-failed "$unit" 2>/dev/null || :
done
systemctl daemon-reload
free_holds
if [ -n "$WEIGHTS" ]; then remove_weights; else keep_weights; fi
if [ -d "$STATE/weights" ]; then find "$STATE/weights/" -mindepth 1 -depth -type d -empty -delete; fi
[ -z "$PACKAGES" ] || remove_packages
remove_account
# The stream of a module that the driver came by.
[ ! -s "$STATE/nvidia/stream" ] || dnf -q -y module reset "$(cat "$STATE/nvidia/stream")" >"$log" 2>&1 || miss "dnf module reset failed: $(reason)"
# A unit of a package that is gone would be remembered as failed.
[ ! -e "$STATE/nvidia" ] || systemctl reset-failed nvidia-persistenced nvidia-fabricmanager 2>/dev/null || :
ours | grep '^/etc/modprobe.d/' >"$work/boot" || :
while IFS= read -r file; do
  # The lists and the mark of the account are gone by now, or stay on purpose.
  case $file in "$RECORD" | "$BROUGHT" | "$STATE/account.created") continue ;; /*) ;; *) continue ;; esac
  said=$(rm -rf -- "$file" 2>&1) || miss "$said"
done <<END
$(ours)
END
# What kept nouveau away is in it.
[ ! -s "$work/boot" ] || ! command -v update-initramfs >/dev/null || watched update-initramfs -u -k all || miss "update-initramfs failed: $(tail -n 1 "$log")"
[ ! -s "$work/boot" ] || ! command -v dracut >/dev/null || watched dracut --regenerate-all --force || miss "dracut failed: $(tail -n 1 "$log")"
# A link to another disk stays: we did not make it.
for folder in /opt/rigwright/* /opt/rigwright "$CONFIG" "$STATE/weights" "$STATE"; do
  [ -L "$folder" ] || rmdir -- "$folder" 2>/dev/null || :
done
{
  ours
  cat "$BROUGHT" 2>/dev/null || :
} >"$work/known"
find /opt/rigwright/ "$CONFIG/" "$STATE/" ! -type d 2>/dev/null | tr -s / | grep -vxF -f "$work/known" | head -n 20 |
  while IFS= read -r file; do say "$file stays, rigwright did not bring it"; done
[ -z "$failed" ]
