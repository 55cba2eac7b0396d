# cuda_code FILE: the architectures inside a CUDA library, a line each: "sass 86" is machine code, "ptx 90" what a driver
# compiles when it loads. NVIDIA's own reader, cuobjdump, is in no wheel. Source: fatbinary_section.h of CUDA, a
# header of 16 bytes (magic, version, its own size, the size of what follows), then entries: kind (1 PTX, 2 machine code),
# version, size of the entry's header, of its data; the architecture at 28. All files of a library are compiled for the same:
# after so many headers nothing new comes, but in one that is to keep a rig busy.
cuda_code() {
  LC_ALL=C grep -obUaF "$(printf '\120\355\125\272')" "$1" 2>/dev/null | head -n 1024 | cut -d: -f1 | {
    left=1024
    while [ "$left" -gt 0 ] && read -r at; do
      left=$((left - 1))
      [ "$(number_at "$1" "$at" 4 4)" = "$((16 * 65536 + 1))" ] || continue
      size=$(number_at "$1" "$at" 8 8)
      entry=$((at + 16)) end=$((at + 16 + ${size:-0}))
      while [ "$entry" -lt "$end" ] && [ "$left" -gt 0 ]; do
        case $(number_at "$1" "$entry" 2 0) in 1) kind=ptx ;; 2) kind=sass ;; *) break ;; esac
        echo "$kind $(number_at "$1" "$entry" 4 28)"
        head=$(number_at "$1" "$entry" 4 4)
        size=$(number_at "$1" "$entry" 8 8)
        [ "${head:-0}" -ge 32 ] && [ -n "$size" ] || break
        entry=$((entry + head + size)) left=$((left - 1))
      done
    done
  } | sort -u
}
# number_at FILE START BYTES OFFSET; nothing behind the end of the file.
number_at() { od -An -v -tu"$3" -j $(($2 + $4)) -N "$3" -- "$1" 2>/dev/null | tr -d ' '; }
# serves CAPABILITY: standard input is what cuda_code printed; whether such a GPU runs some of it: machine code of its own
# generation that is no newer, or what its driver compiles.
serves() {
  awk -v gpu="$1" '
    $1 == "sass" && int($2 / 10) == int(gpu / 10) && $2 + 0 <= gpu + 0 { found = 1 }
    $1 == "ptx" && $2 + 0 <= gpu + 0 { found = 1 }
    END { exit !found }'
}
