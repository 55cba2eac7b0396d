# host_compiler NVCC: the newest g++ here that a CUDA takes, where the compiler of the system is too new for it; nothing where it
# will do, or none is there. The limit is what NVIDIA's own header makes an error of: `#if __GNUC__ > 15`.
host_compiler() {
  nvcc=$(readlink -f -- "$(command -v -- "$1")") || return 0
  most=$(sed -nE 's/^#if __GNUC__ > ([0-9]{1,3})$/\1/p' "${nvcc%/bin/nvcc}/include/crt/host_config.h" 2>/dev/null | head -n1)
  own=$(c++ -dumpversion 2>/dev/null | sed -n 's/^\([0-9]*\).*/\1/p')
  [ -n "$most" ] && [ "${own:-0}" -gt "$most" ] || return 0
  while [ "$most" -ge 9 ]; do
    if command -v "g++-$most"; then break; fi
    most=$((most - 1))
  done
}
