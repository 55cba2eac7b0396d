# Has the driver that is on the disk run: in place where nothing uses a GPU, which spares a reboot. What does not work is no
# failure here: the rig is read again, and its state says whether a reboot is needed.
lock
quiet() { "$@" >/dev/null 2>&1; }
DAEMONS="nvidia-persistenced nvidia-fabricmanager nvidia-dcgm nvidia-powerd"
MODULES="nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem nvidia"
loaded() { grep -q "^$1 " /proc/modules 2>/dev/null || lsmod 2>/dev/null | grep -q "^$1 "; }
# The programs that have a GPU open, but for the daemons above.
users() {
  for at in /proc/[0-9]*/fd/*; do
    case $(readlink "$at" 2>/dev/null) in /dev/nvidia*) ;; *) continue ;; esac
    pid=${at#/proc/}
    pid=${pid%%/*}
    case $(cat "/proc/$pid/comm" 2>/dev/null) in nvidia-persiste* | nv-fabricmanage* | nv-hostengine | nvidia-powerd) ;; *) echo "$pid" ;; esac
  done 2>/dev/null | sort -un
}
named() { for pid in $1; do printf '%s (pid %s) ' "$(cat "/proc/$pid/comm" 2>/dev/null)" "$pid"; done; }
held() { loaded nouveau || loaded nova_core; }
if held && [ -n "$MAY_UNLOAD" ]; then
  for own in nouveau nova_drm nova_core; do ! loaded "$own" || quiet modprobe -r "$own" || :; done
  if held; then say "nouveau is in use: a reboot takes it away"; else say "nouveau is unloaded"; fi
fi
wanted=$(on_disk "$(uname -r)")
started=''
gone=''
if [ -n "$MAY_UNLOAD" ] && [ -n "$(running)" ] && [ -n "$wanted" ] && [ "$(running)" != "$wanted" ]; then
  busy=$(users)
  if [ -n "$busy" ]; then
    say "driver $(running) stays loaded: $(named "$busy")use the GPUs"
  else
    for unit in $DAEMONS; do
      if systemctl is-active -q "$unit"; then started="$started $unit"; systemctl stop "$unit" || :; fi
    done
    for module in $MODULES; do
      loaded "$module" || continue
      quiet rmmod "$module" || break
      gone="$module $gone"
    done
    if [ -n "$(running)" ]; then
      say "driver $(running) does not unload"
      for module in $gone; do quiet modprobe "$module" || :; done
    else say "driver $wanted takes the place of the loaded one"; fi
  fi
fi
if [ -z "$(running)" ] && [ -n "$wanted" ] && ! held; then
  if said=$(modprobe nvidia 2>&1); then
    quiet modprobe nvidia_uvm || quiet modprobe nvidia-current-uvm || :
    # Those of a screen, where they were there.
    for module in $gone; do [ "$module" = nvidia ] || quiet modprobe "$module" || :; done
    say "driver $(running) is loaded"
  else say "the module does not load: $(printf '%s' "$said" | tail -n 1)"; fi
fi
if [ -n "$(running)" ]; then
  ! command -v nvidia-modprobe >/dev/null || quiet nvidia-modprobe -c 0 -u || :
  quiet timeout 120 nvidia-smi -L || :
  for unit in nvidia-persistenced nvidia-fabricmanager; do
    # Its package starts it before its library can be found.
    systemctl is-enabled -q "$unit" 2>/dev/null || [ "$unit" = nvidia-persistenced ] || continue
    systemctl cat "$unit" >/dev/null 2>&1 || continue
    ! systemctl is-active -q "$unit" || [ "$(systemctl show -P SubState "$unit")" != running ] || continue
    systemctl reset-failed "$unit" 2>/dev/null || :
    systemctl restart "$unit" 2>/dev/null || say "$unit does not start; see journalctl -u $unit"
  done
fi
for unit in $started; do
  systemctl is-active -q "$unit" || systemctl start "$unit" 2>/dev/null || say "$unit does not start; see journalctl -u $unit"
done
