# Proves the driver by CUDA itself: $COUNT GPUs are on the PCI bus. What fails brings the driver before it back, where there
# was one.
lock
[ -e "$STATE/unproven" ] || exit 0
# After a boot a driver may take minutes to appear: its modules are compiled, or its module waits for another one.
for waited in 0 5 10 15 20 25 30 35 40 45 50 55 60 65 70 75 80 85 90 95 100 105 110 115; do
  [ -z "$(running)" ] || break
  [ $((waited % 30)) -ne 0 ] || say "waiting for the driver to load"
  if modprobe nvidia >/dev/null 2>&1; then break; fi
  sleep 5
done
if [ -n "$(running)" ]; then
  modprobe nvidia_uvm >/dev/null 2>&1 || modprobe nvidia-current-uvm >/dev/null 2>&1 || :
  ! command -v nvidia-modprobe >/dev/null || nvidia-modprobe -c 0 -u >/dev/null 2>&1 || :
fi
is=$(running) have=$(libraries)
bad() { go_back "$*" || exit 1; }
[ -n "$is" ] || bad "no driver is loaded: $(modprobe nvidia 2>&1 | tail -n 1)"
[ "$is" = "$have" ] || bad "module $is runs, and the libraries are $have"
said=$(cuda)
if [ -z "$said" ]; then
  why "no python3 with ctypes is here to ask CUDA: what nvidia-smi counts is taken"
  said="0 $(timeout 120 nvidia-smi -L 2>/dev/null | grep -c '^GPU' || :)"
fi
[ "${said% *}" = 0 ] || bad "driver $is is loaded, and cuInit says ${said% *}"
[ "${said#* }" = "$COUNT" ] || bad "$COUNT GPUs are on the PCI bus, and CUDA counts ${said#* }: see \`rigwright hardware\`"
if [ -n "$FABRIC" ]; then
  for _ in $(seq 60); do
    state=$(nvidia-smi -q 2>/dev/null | sed -n '/^ *Fabric/,/State/s/^ *State *: //p' | sort -u)
    [ "$state" != Completed ] || break
    say "waiting for Fabric Manager: ${state:-no answer}"
    sleep 5
  done
  [ "$state" = Completed ] || bad "Fabric Manager does not come to an end: ${state:-no answer}; see journalctl -u nvidia-fabricmanager"
fi
rm -f "$STATE/unproven"
rm -rf "$BEFORE"
say "driver $is computes: CUDA counts $COUNT"
