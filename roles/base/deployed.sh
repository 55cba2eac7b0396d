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
names=$(
  {
    printf '%s\n' $NAMES
    for at in /etc/systemd/system/rigwright-*.service; do there "$at" && basename "$at" .service | sed 's/^rigwright-//'; done
    for at in /etc/rigwright/*.json; do [ -e "$at" ] && basename "$at" .json; done
    ls -1 /opt/rigwright/services /var/lib/rigwright/services 2>/dev/null | grep -v ':$'
  } | grep -E '^[a-z0-9][a-z0-9@-]*$' | sort -u
)
units=$(printf 'rigwright-%s.service\n' $names)
[ -z "$names" ] || shown=$(systemctl show -p Id,ActiveState,SubState,UnitFileState,MainPID,FragmentPath,ExecMainStartTimestamp -- $units 2>/dev/null)
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
  key=/etc/rigwright/${name%@*}.key
  [ ! -f "$key" ] || { stat -c 'key=%Y|%a|%U' -- "$key"; echo "key.sha256=$(sha256sum <"$key" 2>/dev/null | cut -d' ' -f1)"; }
  properties=$(printf '%s\n' "$shown" | awk -v id="Id=rigwright-$name.service" 'BEGIN { RS = ""; FS = "\n" } { for (i = 1; i <= NF; i++) if ($i == id) print }')
  printf '%s\n' "$properties"
  pid=$(printf '%s\n' "$properties" | sed -n 's/^MainPID=//p')
  if [ "${pid:-0}" -gt 0 ] 2>/dev/null; then
    echo "exe=$(readlink "/proc/$pid/exe")"
    echo "cwd=$(readlink "/proc/$pid/cwd")"
    echo "since=$(date -d "$(printf '%s\n' "$properties" | sed -n 's/^ExecMainStartTimestamp=//p')" +%s 2>/dev/null)"
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep '^RIGWRIGHT_' | sed 's/^/env./'
    url=$(url_of "$record")
    echo "health.url=$url"
    [ -z "$url" ] || ! command -v curl >/dev/null || echo "health=$(curl -sm 5 -o /dev/null -w '%{http_code}' --noproxy '*' -- "$url" 2>/dev/null)"
  fi
done
section installed
for release in /opt/rigwright/*/releases/*/; do
  [ -e "$release/release.json" ] || continue
  echo "release=${release%/}"
  echo "identity=$(encoded "$release/release.json" | base64 -d | tr -d '\0' | sed -n 's/^ "identity": "\([^"]*\)",$/\1/p')"
  [ ! -e "$release/flags.txt" ] || { printf 'flags='; encoded "$release/flags.txt"; }
done
for at in /var/lib/rigwright/refs/*; do [ ! -f "$at" ] || echo "ref=${at##*/}|$(head -c 100 -- "$at" | tr -d '\0' | head -n1)"; done
for nvcc in nvcc /usr/local/cuda/bin/nvcc; do
  command -v "$nvcc" >/dev/null || continue
  echo "nvcc=$nvcc"
  echo "nvcc.version=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
  break
done
:
