# What a release that was not built here has to show before it has its name. It lies in $stage.
prove() { # prove PROGRAM OPTION: it is a stranger's, and shut in like a build; into a file it writes 1 MiB at most
  shut_in --uid="$BUILDER" --gid="$BUILDER" --pipe --wait --collect --description="rigwright tries a release" -p RuntimeMaxSec=60 \
    -p LimitFSIZE=1M -p InaccessiblePaths="-/etc/llama.cpp -/usr/lib/x86_64-linux-gnu/ggml -/usr/lib/aarch64-linux-gnu/ggml" -- "$1" "$2"
}
starts() { # starts INSTEAD: or what to do instead
  prove "$stage/bin/llama-server" --version >"$stage/said" 2>&1 ||
    undo "release $ID does not start on this rig: $(grep -v '^Running as unit' "$stage/said" | grep -m1 . | cut -c1-200); $1"
  rm -f "$stage/said"
}
has_code() { # has_code LIBRARY INSTEAD: for each of $GPUS
  code=
  for gpu in $GPUS; do
    [ -n "$code" ] || code=$(cuda_code "$1" 2>/dev/null | paste -sd, -)
    printf '%s\n' "$code" | tr , '\n' | serves "$gpu" || undo "release $ID has no code for a GPU of sm_$gpu, only for ${code:-CPUs}; $2"
  done
}
asked_flags() {
  prove "$stage/bin/llama-server" --help >"$stage/help" 2>/dev/null || :
  flags_of "$stage/help" >"$stage/flags.txt"
  rm -f "$stage/help"
}
