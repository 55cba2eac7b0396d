# What stands around a driver, for a recording. Follows collect.sh. Needs no root, writes nothing, changes nothing.

# answer TOOL FILE COMMAND...: as ask, where TOOL is there; what says nothing is an answer too.
answer() {
  command -v "$1" >/dev/null || return 0
  file=$2; shift 2
  # shellcheck disable=SC2154 # collect.sh's listen sets it
  listen "$@" || { keep "$file" "$said"; return 0; }
  case $said in *[![:space:]]*) keep "$file" "$said" ;; *) printf '@rigwright source %s\n' "$file" ;; esac
}

# Packages that a driver plan asks for; with base-files, dpkg, filesystem and setup, which no machine lacks, the list
# shows that it is whole.
RELEVANT='nvidia|cuda|nvlsm|fabricmanager|imex|nouveau|dkms|cudnn|nccl'
RELEVANT="$RELEVANT|^([a-z]+ +)?(linux-(image|headers|modules|generic)|kernel|kmod|akmod|gcc|g[+][+]|libc6|glibc|shim|mokutil|zstd|make|unattended-upgrades|base-files|dpkg|filesystem|setup)"

packages_text() {
  if command -v dpkg-query >/dev/null; then
    dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\n'
  else
    rpm -qa
  fi | grep -E "$RELEVANT"
}

packages() {
  tool=rpm
  ! command -v dpkg-query >/dev/null || tool=dpkg-query
  answer "$tool" packages.txt packages_text
  installed=$(printf '%s\n' "$said" | sed -n 's/^[ih][^ ]* *\([a-z0-9][^ ]*\) .*/\1/p')
}

# What is installed, and what could be. In memory: apt would renew its cache on disk.
policy_text() {
  command -v apt-cache >/dev/null || return 0
  kernel=$(uname -r)
  branches='535 570 580 590 595 610 615'
  set -- base-files dpkg nvidia-open nvidia-driver nvidia-driver-cuda cuda-drivers libcuda1 nvidia-smi nvidia-persistenced \
    nvidia-kernel-dkms nvidia-open-kernel-dkms nvidia-kernel-open-dkms nvidia-dkms nvidia-dkms-open nvidia-cuda-toolkit \
    nvidia-headless-no-dkms-open nvidia-fabricmanager nvlsm nvidia-imex dkms gcc gcc-11 gcc-12 gcc-13 gcc-14 gcc-15 \
    linux-headers-amd64 linux-headers-arm64 linux-headers-generic linux-image-amd64
  for at in "$kernel" /lib/modules/*/; do
    at=${at%/} at=${at##*/}
    case $at in *-pve) set -- "$@" "proxmox-headers-$at" "pve-headers-$at" ;; *) set -- "$@" "linux-headers-$at" ;; esac
  done
  for toolkit in 11-8 12-4 12-6 12-8 12-9 13-0 13-1 13-2 13-3 13-4 13-5; do set -- "$@" "cuda-toolkit-$toolkit"; done
  for branch in $branches; do
    set -- "$@" "nvidia-driver-pinning-$branch" "cuda-drivers-$branch" "nvidia-fabricmanager-$branch"
    for kind in "$branch-server-open" "$branch-server" "$branch-open" "$branch"; do
      set -- "$@" "nvidia-driver-$kind" "nvidia-dkms-$kind" "nvidia-headless-no-dkms-$kind" \
        "linux-modules-nvidia-$kind-generic" "linux-modules-nvidia-$kind-$kernel"
    done
    set -- "$@" "nvidia-utils-$branch-server" "nvidia-utils-$branch" "libnvidia-compute-$branch"
  done
  # shellcheck disable=SC2086 # names without blanks
  apt-cache -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= policy "$@" ${installed-} |
    awk '/^[^ ]/ { if (!seen[$0]++) wanted = 1; else wanted = 0 } wanted'
}

# From the cache alone, which an ordinary user may not have. dnf writes a log whatever it does: not into the machine's.
dnf_text() {
  command -v dnf >/dev/null || return 0
  log=$(mktemp -d) || return 0
  set -- -q -C "--setopt=logdir=$log"
  dnf "$@" list --showduplicates filesystem setup 'nvidia-*' 'kmod-nvidia*' 'akmod-nvidia*' 'xorg-x11-drv-nvidia*' \
    'cuda-drivers*' 'cuda-toolkit*' nvlsm dkms gcc kernel-core kernel-devel kernel-headers
  dnf "$@" module list nvidia-driver
  dnf "$@" versionlock list
  rm -rf "$log"
}

repositories_text() {
  tail -n +1 /dev/null /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources \
    /etc/yum.repos.d/*.repo |
    grep -E '^(==>|[# ]*deb |(Types|URIs|Suites|Components|Enabled|Signed-By):|\[|(name|baseurl|metalink|mirrorlist|enabled|module_hotfixes) *=|$)'
}

modinfo_text() {
  for at in /lib/modules/*/; do
    at=${at%/}
    modinfo -k "${at##*/}" nvidia nvidia-current nvidia-current-open |
      grep -E '^(filename|version|license|vermagic|signer|name):'
  done
}

# The running kernel's and the newest: the first is loaded now, the other at the next boot. Each takes seconds.
initramfs_text() {
  for image in $images; do
    { lsinitramfs "$image" || lsinitrd "$image"; } | grep -E 'lib/modules/.*/nvidia[^/]*\.ko'
  done
}

initramfs() {
  case ${installed-}$(ls -d /lib/modules/*/updates/dkms/nvidia* /lib/modules/*/extra/nvidia* 2>/dev/null) in
    *nvidia*) ;; *) return 0 ;;
  esac
  images=''
  # shellcheck disable=SC2012 # names of kernels are plain, and -v sorts them by version
  for image in "$(ls -dv /boot/initrd.img-* /boot/initramfs-*.img 2>/dev/null | tail -n 1)" \
    "/boot/initrd.img-$(uname -r)" "/boot/initramfs-$(uname -r).img"; do
    case " $images " in *" $image "*) continue ;; esac
    [ ! -r "$image" ] || [ ! -f "$image" ] || images="$images $image"
  done
  [ -n "$images" ] || return 0
  tool=lsinitrd
  ! command -v lsinitramfs >/dev/null || tool=lsinitramfs
  answer "$tool" initramfs.txt initramfs_text
}

compilers_text() {
  for tool in cc gcc ldd; do
    if command -v "$tool" >/dev/null; then "$tool" --version | head -n 1; else echo "$tool: not found"; fi
  done
}

# Each nvcc once, those in PATH first, with what it says below it.
nvcc_text() {
  seen=' '
  for at in $(printf %s "$PATH" | tr : '\n') /usr/local/cuda/bin /usr/local/cuda-*/bin /opt/rigwright/cuda/*/bin; do
    [ -x "$at/nvcc" ] || continue
    real=$(readlink -f "$at/nvcc")
    case $seen in *" $real "*) continue ;; esac
    seen="$seen$real "
    echo "$at/nvcc"
    "$at/nvcc" --version | grep release
    "$at/nvcc" --list-gpu-code
  done
}

# A container sees no firmware, or its host's.
secure_boot_text() {
  ! systemd-detect-virt -cq || return 0
  [ -d /sys/firmware/efi ] || { echo 'EFI variables are not supported on this system'; return 0; }
  if command -v mokutil >/dev/null; then
    mokutil --sb-state
    for key in /var/lib/dkms/mok.pub /var/lib/shim-signed/mok/MOK.der; do
      [ ! -r "$key" ] || mokutil --test-key "$key"
    done
    return 0
  fi
  for at in /sys/firmware/efi/efivars/SecureBoot-*; do
    case $(od -An -tu1 -j4 -N1 "$at") in *1) echo 'SecureBoot enabled' ;; *0) echo 'SecureBoot disabled' ;; esac
  done
}

runfile_text() {
  ls -d /usr/bin/nvidia-uninstall /usr/bin/nvidia-installer /var/log/nvidia-installer.log /usr/local/cuda-*/bin/cuda-uninstaller
  [ -n "$library" ] && ! dpkg -S "$library" >/dev/null && ! rpm -qf "$library" >/dev/null || return 0
  echo "dpkg-query: no path found matching pattern $library"
}

userland() {
  library=$(ldconfig -p 2>/dev/null | sed -n 's/.*libcuda\.so\.1 .*=> //p' | head -n 1)
  [ -z "$library" ] || library=$(readlink -f "$library")
  keep userland.txt "$library"
}

# dkms leaves the log of a build in place where it failed.
dkms_log_text() {
  grep -hE 'make\.log for|error:|ERROR:|modpost:|The kernel was built by|You are using|\*\*\* ' /var/lib/dkms/*/*/build/make.log |
    tail -n 60
}

# Where nvidia-uvm is in place already: else CUDA would load it. nvidia-smi may be well where this fails.
cuda_text() {
  [ -e /dev/nvidia-uvm ] || return 0
  python3 -I -c 'import ctypes; print("cuInit(0) =", ctypes.CDLL("libcuda.so.1").cuInit(0))'
}

cdi_text() {
  cat /etc/cdi/*.yaml /var/run/cdi/*.yaml | grep -B 2 -A 3 -e 'path: /dev/nvidia-uvm$' -e 'hostPath: .*/libcuda\.so\.[0-9][0-9][0-9]\.'
}
