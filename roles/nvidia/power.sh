# Written by rigwright. Power limits and clocks of GPUs, by UUID: `power.sh apply FILE` sets them, `power.sh reset FILE` gives
# cards their own back. A line of FILE is UUID WATTS CLOCKS; clocks are 210,1700, and `-` is what stays as it is.
# Exit codes: 0 what is there is set, 1 no driver answers, 2 a card does not take it. A card that is gone stops nobody.
set -u
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
smi() { timeout 60 nvidia-smi "$@" 2>&1 </dev/null; }
ask() { smi -i "$1" --query-gpu="$2" --format=csv,noheader,nounits; } # ask UUID FIELD
# near A B: within a watt, as cards round.
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > 0 && a - b <= 1 && b - a <= 1) }'; }
limit() { # limit UUID WATTS
  now=$(ask "$1" power.limit)
  if near "$now" "$2"; then return 0; fi
  least=$(ask "$1" power.min_limit) most=$(ask "$1" power.max_limit)
  if awk -v w="$2" -v a="$least" -v b="$most" 'BEGIN { exit !(a + 0 > 0 && w < a || b + 0 > 0 && w > b) }'; then
    echo "$1 takes $least to $most W, not $2 W: it stays at $now W"
    return 1
  fi
  said=$(smi -i "$1" -pl "$2")
  now=$(ask "$1" power.limit)
  if near "$now" "$2"; then echo "$1 is limited to $2 W"; return 0; fi
  echo "$1 does not take $2 W, its limit is $now: $(printf %s "$said" | tr '\n' ' ')"
  return 1
}
clock() { # clock UUID CLOCKS
  said=$(smi -i "$1" -lgc "$2") && case $said in *"not supported"* | *"ermission"*) false ;; esac && return 0
  echo "$1 does not take clocks of $2 MHz: $(printf %s "$said" | tr '\n' ' ')"
  return 1
}
apply() { # apply UUID WATTS CLOCKS
  # Without anybody who keeps the driver, a limit ends with the last program on the GPU.
  systemctl is-active -q nvidia-persistenced 2>/dev/null || smi -i "$1" -pm 1 >/dev/null
  taken=0
  [ "$2" = - ] || limit "$1" "$2" || taken=2
  [ "$3" = - ] || clock "$1" "$3" || taken=2
  return "$taken"
}
reset() { # reset UUID WATTS CLOCKS
  if [ "$2" != - ]; then
    own=$(ask "$1" power.default_limit)
    near "$(ask "$1" power.limit)" "$own" || smi -i "$1" -pl "$own" >/dev/null || echo "$1 does not take its own $own W"
  fi
  [ "$3" = - ] || smi -i "$1" -rgc >/dev/null || echo "$1 keeps its clocks"
}
code=0 answered=
while read -r uuid watts clocks _ <&3; do
  case $uuid in GPU-*) ;; *) continue ;; esac
  if [ "$(ask "$uuid" uuid)" = "$uuid" ]; then
    answered=yes
    "$1" "$uuid" "$watts" "$clocks" || code=2
  else
    echo "$uuid does not answer: it is left out"
  fi
done 3<"$2"
if [ -z "$answered" ] && ! said=$(smi -L); then
  echo "no driver answers: $(printf %s "$said" | head -n 1)"
  exit 1
fi
exit "$code"
