# Brings half-done packages to an end, and takes away an installation by NVIDIA's own installer where the inventory says so.
lock
mkdir -p "$STATE"
if [ -n "$RUNFILE" ]; then
  tool=$(command -v nvidia-uninstall || command -v nvidia-installer) || fail "nvidia-uninstall is not there; take NVIDIA's own driver away by hand"
  for unit in nvidia-persistenced nvidia-fabricmanager nvidia-dcgm; do systemctl stop "$unit" 2>/dev/null || :; done
  say "taking away what NVIDIA's own installer put here"
  case $tool in
    */nvidia-uninstall) set -- --silent ;;
    *) set -- --uninstall --no-questions --no-runlevel-check --no-x-check --ui=none ;;
  esac
  watched "$tool" "$@" || fail "$tool failed: $(tail -n 1 "$log"); nothing else was changed"
  [ ! -e "$tool" ] || dpkg -S "$tool" >/dev/null 2>&1 || fail "$tool says that it is done, and is still there; take NVIDIA's own driver away by hand"
fi
readable
mend
