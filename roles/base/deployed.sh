# What rigwright deployed here, one section for each service: its files, its unit, its process. Asked by deploys, and by
# `rigwright plan` without root: then the process tells less. $NAMES are names that an inventory wishes.
# encoded FILE: one line; empty for what is no plain file, and a file of more than 1 MiB is none that we wrote.
encoded() { [ ! -f "$1" ] || head -c 1048576 -- "$1" 2>/dev/null | base64 -w0; echo; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
url_of() { # the address at which the record says that its service answers whether it is healthy
  [ -f "$1" ] || return 0
  found=$(sed -n 's/.*"health":"\(http[^"]*\)".*/\1/p' "$1" 2>/dev/null)
  [ -n "$found" ] || {
    host=$(sed -n 's/.*"name":"--host","value":"\([^"]*\)".*/\1/p' "$1" 2>/dev/null)
    port=$(sed -n 's/.*"name":"--port","value":"\([0-9]*\)".*/\1/p' "$1" 2>/dev/null)
    case $host in 0.0.0.0) host=127.0.0.1 ;; ::) host='[::1]' ;; *:*) host="[$host]" ;; esac
    [ -z "$port" ] || found="http://$host:$port/health"
  }
  printf '%s\n' "$found"
}
# Each process costs about a millisecond, and this is asked at every run: what the shell can do itself, it does.
names=' '
name() { # one that is not known yet; what no service can be called is nobody's
  case $1 in '' | [!a-z0-9]* | *[!a-z0-9@-]*) return ;; esac
  case $names in *" $1 "*) ;; *) names="$names$1 " ;; esac
}
for at in $NAMES; do name "$at"; done
for at in /etc/systemd/system/rigwright-*.service; do
  at=${at##*/rigwright-}; name "${at%.service}"
done
for at in /etc/rigwright/*.json; do
  at=${at##*/}; name "${at%.json}"
done
for at in /opt/rigwright/services/* /var/lib/rigwright/services/*; do name "${at##*/}"; done
units=
for name in $names; do units="$units rigwright-$name.service rigwright.watch.$name.timer"; done
# shellcheck disable=SC2086 # words without blanks of their own
[ -z "$units" ] || shown=$(TZ=UTC0 systemctl show -p Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,InvocationID,FragmentPath,ExecMainStartTimestamp -- $units 2>/dev/null)
properties_of() { # the lines between two empty ones that have this Id
  block=
  while IFS= read -r line; do
    case $line in
      '') case $block in *"${newline}Id=$1$newline"*) return ;; esac; block= ;;
      *) block="${block:-$newline}$line$newline" ;;
    esac
  done <<END
${shown-}

END
  block=
}
newline='
'
for name in $names; do
  section "deployed $name"
  unit=/etc/systemd/system/rigwright-$name.service
  if [ -L "$unit" ]; then echo 'unit=link'
  elif [ -f "$unit" ]; then stat -c 'unit=file|%a|%U' -- "$unit"; printf 'unit.text='; encoded "$unit"
  elif [ -e "$unit" ]; then echo 'unit=other'
  fi
  record=/etc/rigwright/$name.json
  ! there "$record" || { printf 'record='; encoded "$record"; }
  links=/opt/rigwright/services/$name
  for link in current previous; do [ ! -L "$links/$link" ] || echo "$link=$(readlink -- "$links/$link")"; done
  saved=/var/lib/rigwright/services/$name/previous
  [ ! -f "$saved.service" ] || { printf 'saved.unit='; encoded "$saved.service"; }
  ! there "$saved.json" || { printf 'saved.record='; encoded "$saved.json"; }
  cut=/var/lib/rigwright/services/$name/running
  if [ -f "$cut" ]; then # a switch is under way, or was cut: what ran before it
    { IFS= read -r was; IFS= read -r step; } <"$cut" 2>/dev/null
    echo "cut=${was-}|${step-}"
    [ ! -f "$cut.service" ] || { printf 'cut.unit='; encoded "$cut.service"; }
    [ ! -f "$cut.json" ] || { printf 'cut.record='; encoded "$cut.json"; }
  fi
  buffers=/var/lib/rigwright/services/$name/buffers # what dry runs said of these
  [ ! -f "$buffers" ] || { printf 'buffers='; head -c 8192 -- "$buffers" | base64 -w0; echo; }
  key=/etc/rigwright/${name%@*}.key
  [ ! -f "$key" ] || { stat -c 'key=%Y|%a|%U' -- "$key"; echo "key.sha256=$(sha256sum <"$key" 2>/dev/null | cut -d' ' -f1)"; }
  properties_of "rigwright-$name.service"
  printf '%s' "${block#"$newline"}"
  own=$block watch=/etc/systemd/system/rigwright.watch.$name
  if there "$watch.timer" || there "$watch.service"; then # who looks after it
    echo "watch=$(cat -- "$watch.service" "$watch.timer" /opt/rigwright/watch.sh 2>/dev/null | sha256sum | cut -c1-64)"
    properties_of "rigwright.watch.$name.timer"
    case $block in *"${newline}ActiveState=active$newline"*"${newline}UnitFileState=enabled$newline"*) echo 'watch.state=active enabled' ;; esac
    block=$own
  fi
  pid=${block##*"$newline"MainPID=}
  pid=${pid%%"$newline"*}
  if [ "${pid:-0}" -gt 0 ] 2>/dev/null; then
    exe=$(readlink "/proc/$pid/exe")
    echo "exe=$exe"
    echo "cwd=$(readlink "/proc/$pid/cwd")"
    # A process shows where its program really lies; /opt/rigwright may be a link to another disk.
    case $exe in
      '' | "$(readlink -- "$links/current")"/*) ;;
      *) echo "current.place=$(readlink -f -- "$links/current")" ;;
    esac
    held=/run/credentials/rigwright-$name.service/api-key
    [ ! -r "$held" ] || echo "key.held=$(sha256sum <"$held" | cut -d' ' -f1)"
    { tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^RIGWRIGHT_/env.&/p'; } 2>/dev/null
    url=$(url_of "$record")
    echo "health.url=$url"
    [ -z "$url" ] || ! command -v curl >/dev/null || echo "health=$(curl -q -sm 5 -o /dev/null -w '%{http_code}' --noproxy '*' -- "$url" 2>/dev/null)"
  fi
done
section installed
ip -o address show 2>/dev/null | while read -r _ at kind address _; do
  case $kind in inet | inet6) echo "address=$at|$address" ;; esac
done
echo "systemd=$(systemctl show -P Version 2>/dev/null)"
for release in /opt/rigwright/*/releases/*/; do
  [ -e "$release/release.json" ] || continue
  echo "release=${release%/}"
  echo "identity=$([ ! -f "$release/release.json" ] || head -c 65536 -- "$release/release.json" | sed -n 's/^ "identity": "\([^"]*\)",$/\1/p' | tr -d '\0')"
  [ ! -e "$release/flags.txt" ] || { printf 'flags='; encoded "$release/flags.txt"; }
  # No service ran it yet: another run may have just built it.
  [ -e "$release/.served" ] || [ -z "$(find "$release" -maxdepth 0 -mmin -1440)" ] || echo 'fresh=yes'
done
for left in /opt/rigwright/*/releases/.[0-9a-z]* /opt/rigwright/cuda/.[0-9]*; do [ ! -e "$left" ] || echo "left=$left"; done
for left in /var/lib/rigwright/build/*; do # for a day its log is there to be read
  if [ -e "$left" ] && [ -n "$(find "$left" -maxdepth 0 -mmin +1440)" ] &&
    ! systemctl is-active -q "rigwright-build-${left##*/}"; then echo "left=$left"; fi
done
for at in /var/lib/rigwright/refs/*; do [ ! -f "$at" ] || echo "ref=${at##*/}|$(head -c 100 -- "$at" | tr -d '\0' | head -n1)"; done
proof=
{ IFS= read -r proof </var/lib/rigwright/cuda/proven; } 2>/dev/null
[ ! -x "${proof%% *}" ] || echo "proven=$proof"
for at in /opt/rigwright/cuda/*/; do # toolkits; a spare one no release was built with, nor is it wanted now
  at=${at%/}
  [ -x "$at/bin/nvcc" ] || continue
  echo "toolkit=$at"
  case $proof in "$at"/*) continue ;; esac
  grep -qsF -- "$at/" /opt/rigwright/*/releases/*/release.json || echo 'spare=yes'
done
[ ! -f /opt/rocm/.info/version ] || printf 'rocm=%s\n' "$(head -c 40 /opt/rocm/.info/version 2>/dev/null | head -n1)"
for nvcc in nvcc /usr/local/cuda/bin/nvcc; do
  command -v "$nvcc" >/dev/null || continue
  echo "nvcc=$nvcc"
  echo "nvcc.path=$(command -v "$nvcc")"
  echo "nvcc.version=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
  break
done
:
