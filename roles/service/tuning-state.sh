# What of the machine itself plans may ask for, as it is: read by the shell alone, as it is asked at every run.
# A container has the kernel of its host.
[ ! -e /run/systemd/container ] || echo "container=$(systemd-detect-virt -c 2>/dev/null)"
seen=' '
for at in /sys/devices/system/cpu/cpufreq/policy*; do
  { read -r now <"$at/scaling_governor" && read -r all <"$at/scaling_available_governors"; } 2>/dev/null || continue
  case $seen in *" $now "*) ;; *) seen="$seen$now "; echo "governor=$now" ;; esac
  case " $all " in *' performance '*) can=yes ;; esac
done
[ -z "${can-}" ] || echo 'can=governor'
{ read -r now </proc/sys/vm/swappiness; } 2>/dev/null && echo "swappiness=$now" && echo 'can=swappiness'
while read -r name now; do echo "applied=$name $now"; done 2>/dev/null </run/rigwright.tuning/applied
[ ! -e /etc/systemd/system/rigwright.tuning.service ] ||
  systemctl show -p ActiveState -p UnitFileState rigwright.tuning.service 2>/dev/null
:
