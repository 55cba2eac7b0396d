# llama.cpp's own dry run for what is about to start: a second, and not a byte of weights is read. What a GPU cannot hold
# is refused here, while what serves now still serves. $FIT are its arguments, $VISIBLE the environment of the GPUs, $ON_GPUS
# is set where they shall serve, $ROOM is the memory of each GPU in MiB, in the engine's order, $PLANNED what the plan has for
# its compute buffer. It reserves logits for a whole ubatch, since b11434 beside the mask of the context, which the server
# does not: up to $EXPLAINED of its buffer no more counts than the plan has. More is news, and believed up to $MOST. Where
# that is why a GPU is too small, a line of `buffers` notes it after $BUFFERS_OF, $MOST_LINES at most, and later plans count
# so; where $LOCKED is set, once the lock is written anew. The 300 MiB of the CUDA context are not in what it says.
# $FORMULA is what the plan has for model, context and compute buffer, in MiB, a line for each GPU in that order and one for
# RAM: beside the estimate lies `difference`, a line DEVICE PART ESTIMATED PLANNED each; more than 5 % and 256 MiB are said.
# It is a stranger's program with a stranger's file, so it runs as the service would; where it fails, that is said and no more,
# unless CUDA has no device for it, and would have none for the service.
state=/var/lib/rigwright/services/$NAME
install -d -m 755 "$state"
estimate=
more="see rigwright verify and driver, what runs goes on running"
# Before a first service on GPUs nobody may have made the driver's files; within these walls nobody can.
is_sure() { [ ! -e /proc/driver/nvidia/version ] || [ -e /dev/nvidia-uvm ]; }
if [ ! -x "$RELEASE/bin/llama-fit-params" ]; then
  say "$NAME: its release has no llama-fit-params, there is no dry run"
elif ! eval "in_sandbox $LIMIT env $VISIBLE \"\$RELEASE/bin/llama-fit-params\" --fit-print on $FIT" >"$state/estimate" 2>"$state/estimate.log"; then
  absent=$(sed -n 's/.*invalid device: \([A-Za-z0-9]*\).*/\1/p' "$state/estimate.log" | head -n1)
  why=$(grep -oE 'no CUDA-capable device is detected|CUDA driver version is insufficient for CUDA runtime version' "$state/estimate.log" | head -n1) || :
  # A server without libcuda.so.1 says nothing of why, nor does one to which Vulkan or ROCm show no GPU.
  case $absent in
    Vulkan*) why="Vulkan shows it no GPU that the unit may open; is amdgpu loaded, and mesa-vulkan-drivers installed?" ;;
    ROCm*) why="ROCm shows it no GPU that the unit may open; is amdgpu loaded, and does rocminfo name the GPU?" ;;
    *) [ -n "$why" ] || [ -e /proc/driver/nvidia/version ] || why="no driver of NVIDIA's is loaded" ;;
  esac
  [ -z "$absent" ] || [ -z "$why" ] || ! is_sure || fail "$NAME: llama.cpp finds no $absent: $why; $more"
  result=$(sed -n 's/^ *Finished with result: //p' "$state/estimate.log")
  said=$(grep -vE '^ *(Running as unit|Finished with result|Main processes|Service runtime|CPU time|Memory|IP traffic|IO bytes|to show complete usage)|^$' "$state/estimate.log" | tail -n1 | cut -c1-200)
  say "$NAME: llama.cpp's dry run failed (${result:-not started})${said:+: $said}; it goes on without, see $state/estimate.log"
else
  estimate=$(cat "$state/estimate")
fi
printf '%s\n' "$estimate" >"$state/estimate"
judged() { # PROGRAM: with what counts of the compute buffer of the n-th GPU
  awk -v room="$ROOM" -v planned="$PLANNED" -v explained="$EXPLAINED" -v most="$MOST" -v name="$NAME" -v kept="$state/difference" '
    function is_news(n, mib) { return n in known && mib > known[n] && mib <= limit[n] }
    function counted(n, mib) { return is_news(n, mib) || !(n in buffer) || buffer[n] > mib ? mib : buffer[n] }
    BEGIN { split(room, offers, " "); split(planned, buffer, " "); gpus = split(explained, known, " "); split(most, limit, " ") }'"$1"
}
# shellcheck disable=SC2016 # a program of awk
short=$(printf '%s\n' "$estimate" | judged '
  NF == 4 && $1 ~ /[0-9]$/ && $2 $3 $4 ~ /^[0-9]+$/ {
    n++
    needs = $2 + $3 + 300 + counted(n, $4)
    if (is_news(n, $4)) news[n] = $4 + 0
    if (short == "" && n in offers && needs > offers[n]) {
      short = $1 " would need " needs " MiB and has " offers[n]
      if (is_news(n, $4)) short = short ", as its compute buffer is " $4 " MiB, not " buffer[n]
    }
  }
  END {
    for (n = 1; n <= gpus; n++) told = told " " news[n] + 0
    if (short != "") print told "|" short
  }')
# One that is not told its devices takes the CPU without a word where CUDA has none.
if [ -n "$ON_GPUS" ] && is_sure && printf '%s\n' "$estimate" | grep -qE '^Host( [0-9]+){3} *$' &&
  ! printf '%s\n' "$estimate" | grep -qvE '^(Host .*)?$'; then
  fail "$NAME: by llama.cpp's own dry run no GPU has a part of it, the CPU would serve; $more"
fi
# noted BUFFERS: 0 where the line is there now, and was not, or a lock keeps plans from counting with it.
noted() {
  case $1 in *[1-9]*) [ -n "$BUFFERS_OF" ] || return 1 ;; *) return 1 ;; esac
  there=$(head -c 8192 -- "$state/buffers" 2>/dev/null) || :
  case "$newline$there$newline" in *"$newline$BUFFERS_OF$1$newline"*) [ -n "$LOCKED" ]; return ;; esac
  if [ "$(printf '%s\n' "$there" | grep -c .)" -ge "$MOST_LINES" ]; then # those of other releases go
    there=$(printf '%s\n' "$there" | grep -F "${BUFFERS_OF%% *} ") || :
    [ "$(printf '%s\n' "$there" | grep -c .)" -lt "$MOST_LINES" ] || return 1
  fi
  printf '%s%s\n' "${there:+$there$newline}" "$BUFFERS_OF$1" | write "$state/buffers" 644
}
newline='
'
if [ -n "$short" ]; then
  way="lower context, or leave the placement to the plan"
  if noted "${short%%|*}"; then
    way="that is noted, the next deploy plans with it"
    [ -z "$LOCKED" ] || way="that is noted, but the lock holds the plan without it: write it anew with rigwright plan --write"
  fi
  fail "$NAME: by llama.cpp's own dry run ${short#*|}; $way"
fi
# shellcheck disable=SC2016 # a program of awk
printf '%s\n%s\n' "$FORMULA" "$estimate" | judged '
  BEGIN { rows = n = 0; split("model context compute", part, " "); printf "" >kept }
  NF == 3 { for (p = 1; p <= 3; p++) plan[rows, p] = $p; rows++; next }
  NF == 4 && $1 $2 $3 $4 ~ /^[A-Za-z]+[0-9]+$/ && $2 $3 $4 ~ /^[0-9]+$/ && rows {
    row = $1 == "Host" ? rows - 1 : n++
    if (row >= rows - ($1 != "Host") || seen[row]++) next
    has = needs = 0
    for (p = 1; p <= 3; p++) {
      print $1, part[p], $(p + 1), plan[row, p] >kept
      has += plan[row, p]
      needs += p == 3 && $1 != "Host" ? counted(row + 1, $4) : $(p + 1)
    }
    by = needs > has ? needs - has : has - needs
    if (by > 256 && by * 20 > has) printf "%s: llama.cpp%ss dry run has %d MiB on %s, the plan %d; see %s\n", name, "\47", needs, $1, has, kept
  }' | while read -r line; do say "$line"; done
printf '%s\n' "$estimate" | awk 'NF == 4 && $2 $3 $4 ~ /^[0-9]+$/ { printf "%s%s %d MiB", sep, $1, $2 + $3 + $4; sep = ", " }' | {
  read -r told || :
  if [ -n "$told" ]; then say "$NAME: llama.cpp's dry run takes $told"
  elif [ -n "$estimate" ]; then say "$NAME: llama.cpp's dry run said nothing that is known here; see $state/estimate"; fi
}
