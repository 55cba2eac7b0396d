# Asks this machine's tools and prints what they said. Needs no root, writes nothing, changes nothing.
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/opt/rocm/bin:/usr/lib/wsl/lib"
TOOL_SECONDS=30 LARGEST_BYTES=4194304
silent=' '
ends=$(($(date +%s) + TOTAL_SECONDS))
newline='
'

# keep FILE TEXT: one source. Non-ASCII bytes become `?`: SSH clients give up on what is no UTF-8.
keep() {
  case $2 in *[![:space:]]*) ;; *) return 0 ;; esac
  printf '@rigwright source %s\n' "$1"
  printf '%s\n' "$2" | tr '\200-\377' '?' | sed 's/^/|/'
}

# within SECONDS COMMAND...: functions of ours are not killed, only left behind.
within() {
  case $(command -v "$2"):$(command -v timeout) in
    /*:/*) timeout -k 2 "$@" ;;
    *) shift; "$@" ;;
  esac
}

patient() { if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi; }

# listen COMMAND...: its stdout in $said, its exit code in $status; 1 where it did not end in time, or no time is left,
# or where it does not stop talking.
# A process that hangs in the kernel cannot be killed, and `timeout` then waits for it forever. So nobody waits for
# it: it runs in the background, and the limit is on who reads from it.
listen() {
  left=$((ends - $(date +%s)))
  [ "$left" -le "$TOOL_SECONDS" ] || left=$TOOL_SECONDS
  said='' status=124
  [ "$left" -gt 0 ] || return 1
  said=$({ { within "$left" "$@"; printf '\n@status %s' "$?"; } </dev/null 2>/dev/null & } |
    patient $((left + 3)) head -c "$LARGEST_BYTES" 2>/dev/null)
  # First of all: bash needs minutes to look through a text of many MB.
  if [ "${#said}" -ge "$((LARGEST_BYTES - 16))" ]; then
    said="$1: said more than $LARGEST_BYTES bytes" silent="$silent$1 "; return 1
  fi
  case $said in *"$newline@status "*) status=${said##*@status } said=${said%"$newline@status "*} ;; esac
  case $said in *"$newline") said=${said%"$newline"} ;; esac
  case $status in
    124 | 137 | 143) said="$1: timed out after $left s" silent="$silent$1 "; return 1 ;;
  esac
}

# ask FILE COMMAND...: nothing where there is no such tool, or where it did not answer before.
ask() {
  file=$1; shift
  can_ask "$1" || return 0
  listen "$@"
  # With a broken GPU, each question is answered with the same error: it is kept once, in smi.txt.
  [ "$1" != nvidia-smi ] || [ "$said" != "${table-}" ] || return 0
  keep "$file" "$said"
}

# tell FILE FUNCTION: ours that ask the kernel alone, which answers: a limit would cost more than they do.
tell() { keep "$1" "$("$2" 2>/dev/null)"; }

can_ask() {
  case $silent in *" $1 "*) return 1 ;; esac
  command -v "$1" >/dev/null 2>&1
}

system_text() {
  cat /etc/os-release 2>/dev/null
  uname -rm | { read -r kernel architecture; printf '\nKERNEL=%s\nARCHITECTURE=%s\n' "$kernel" "$architecture"; }
  [ -z "$EVERYTHING" ] || printf 'VIRTUALIZATION=%s\n' "$(systemd-detect-virt 2>/dev/null)"
  grep -E '^(MemTotal|MemAvailable):' /proc/meminfo 2>/dev/null
  command -v sw_vers >/dev/null || return 0
  printf 'ID=macos\nVERSION_ID=%s\n' "$(sw_vers -productVersion)"
  printf 'MemTotal: %s kB\n' "$(($(sysctl -n hw.memsize) / 1024))"
}

# A block per display controller (class 03), accelerator (12) and network adapter for GPUs. No process is started per
# device: `read` and `cd` are the shell's own.
sysfs_text() {
  [ -d /sys/bus/pci/devices ] || return 0
  echo "# display controllers, accelerators${EVERYTHING:+, NVSwitches} and RDMA adapters"
  for at in /sys/bus/pci/devices/*; do
    class=''
    value "$at/class" class
    case $class in
      0x03* | 0x12*) ;;
      0x0680*) [ -n "$EVERYTHING" ] && value "$at/vendor" found && [ "$found" = 0x10de ] || continue ;;
      *) continue ;;
    esac
    printf '\ndevice=%s\n' "${at##*/}"
    place "$at" path=
    values "$at" '' class vendor subsystem_vendor subsystem_device numa_node boot_vga local_cpulist \
      current_link_speed current_link_width max_link_speed max_link_width mem_info_vram_total mem_info_gtt_total
    value "$at/device" found && printf 'device_id=%s\n' "$found"
    place "$at/driver" driver= '*/'
    # The parent of a device is the port at the other end of its link: the slot.
    values "$at/.." slot_ current_link_speed current_link_width max_link_speed max_link_width
  done
  for at in /sys/class/infiniband/*; do
    [ -e "$at/device" ] || continue
    printf '\nnic=%s\n' "${at##*/}"
    place "$at/device" path=
    values "$at/device" '' numa_node local_cpulist
  done
}

value() { { read -r "$2" <"$1"; } 2>/dev/null; }

values() {
  at_device=$1 prefix=$2; shift 2
  for key; do
    value "$at_device/$key" found && printf '%s%s=%s\n' "$prefix" "$key" "$found"
  done
}

# place LINK KEY [CUT]: where a link leads, without its start up to CUT.
place() {
  cd -P "$1" 2>/dev/null || return 0
  found=$PWD
  # shellcheck disable=SC2295 # CUT is a pattern
  printf '%s%s\n' "$2" "${found##${3-}}"
}

module_text() {
  [ ! -r /proc/driver/nvidia/version ] || keep proc-driver-nvidia-version.txt "$(cat /proc/driver/nvidia/version)"
}

lspci_text() {
  command -v lspci >/dev/null || return 0
  lspci -D -nn -vv | awk '
    /^[^ \t]/ { wanted = !/: / || /(VGA compatible|3D|Display) controller|rocessing accelerator|\[(03|12)[0-9a-f][0-9a-f]\]:|\[0680\]: NVIDIA/ }
    wanted'
}

# A deploy asks for it where a driver is that could have something to say.
dmesg_text() {
  [ -n "$EVERYTHING" ] || command -v nvidia-smi >/dev/null || [ -e /sys/module/amdgpu ] || return 0
  { dmesg || journalctl -k -b --no-pager -q -o cat; } | grep -E 'NVRM|Xid|nouveau|amdgpu|fallen off|nvidia/[0-9.]+/gsp|nvidia[a-z_]*: (version magic|disagrees about|Unknown symbol)|nvidia [0-9a-f:.]+: |BAR [0-3].*(no space|failed to assign)|(DMAR|AMD-Vi): .*([Ff]ault|FAULT)|unavailable key|unsigned module|[Ss]ecure boot (en|dis)abled' | tail -n 200
}

# The list of GPUs: as a table with a header, or, where the driver does not know all fields, as XML.
nvidia_query() {
  can_ask nvidia-smi || { keep smi.txt 'nvidia-smi: not found'; return 0; }
  # shellcheck disable=SC2086 # words without blanks of their own
  listen $NVIDIA_QUERY || { keep query.csv "$said"; return 0; }
  case $said in [a-z]*) keep query.csv "$said"; [ "$status" != 0 ] || { query=$said; return 0; } ;; esac
  case $said in '' | *'not a valid field'*) nvidia_xml; [ -z "${xml-}" ] || return 0 ;; esac
  nvidia_table
}

# Without persistence mode each call wakes all GPUs. A deploy does not ask what the query has told: that there is no
# second GPU, and none that is cut into MIG devices.
is_alone() { # one line below the header
  case $EVERYTHING:${query-} in :*"$newline"*"$newline"?*) return 1 ;; :*"$newline"?*) ;; *) return 1 ;; esac
}
is_plain() { case $EVERYTHING:${query-} in :?*Enabled*) return 1 ;; :?*) ;; *) return 1 ;; esac; }

nvidia_xml() {
  [ -z "${xml-}" ] && can_ask nvidia-smi || return 0
  listen nvidia-smi -q -x || { keep smi.xml "$said"; return 0; }
  case $said in *'<nvidia_smi_log'*) xml=yes; keep smi.xml "$said" ;; esac
}

nvidia_table() {
  [ -z "${table-}" ] && can_ask nvidia-smi || return 0
  listen nvidia-smi || { keep smi.txt "$said"; return 0; }
  table=$said
  [ -n "$table" ] || return 0
  keep smi.txt "$table"
  [ "$status" = 0 ] || keep rc.txt "$status"
  # Without a driver nothing else is answered either.
  case $table in
    *'has failed'* | *'Failed to initialize'* | *'No devices were found'*) silent="${silent}nvidia-smi " ;;
  esac
}

# load SECONDS FILE...: the script prints lines `FILE|text`.
load() {
  TOOL_SECONDS=$1 ends=$(($(date +%s) + $1)); shift
  can_ask nvidia-smi || { keep load.txt 'no NVIDIA driver answers, and others cannot be put under load'; return 0; }
  command -v python3 >/dev/null || { keep load.txt 'python3: not found'; return 0; }
  listen load_text || { keep load.txt "$said"; return 0; }
  answer=$said
  for file; do keep "$file" "$(printf '%s\n' "$answer" | sed -n "s/^$file|//p")"; done
}
