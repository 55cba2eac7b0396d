# Runs on a rig for each connection of another rig that wants the file $SUM, which has $SIZE bytes. Nobody's account:
# standard input is the file, opened by systemd, and standard output the connection, which is read too. What is there is
# handed on at once, what still arrives as it comes. $GROWS is there as long as more may come.
case " $BEHIND " in *" ${REMOTE_ADDR-} "*) ;; *) exit 0 ;; esac
cr=$(printf '\r') first='' method='' path='' lines=0
IFS=' ' read -r method path _ <&1 || exit 0
while IFS= read -r line <&1 && [ "$lines" -lt 64 ]; do
  lines=$((lines + 1)) line=${line%"$cr"}
  case $line in
    '') break ;;
    [Rr]ange:\ bytes=*-) first=${line#*=} first=${first%-} ;;
  esac
done
refuse() { printf 'HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1"; exit 0; }
case $first in *[!0-9]* | 0?* | ????????????????*) refuse '400 Bad Request' ;; esac
[ "$method $path" = "GET /$SUM" ] || refuse '404 Not Found'
at=${first:-0}
[ "$at" -lt "$SIZE" ] || refuse '416 Range Not Satisfiable'
if [ -n "$first" ]; then printf 'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %s-%s/%s\r\n' "$at" $((SIZE - 1)) "$SIZE"
else printf 'HTTP/1.1 200 OK\r\n'; fi
printf 'Content-Length: %s\r\nConnection: close\r\n\r\n' $((SIZE - at))
position() { sed -n 's/^pos:[^0-9]*//p' /proc/self/fdinfo/0; } # of standard input, where the last one left it
placed=
while :; do
  # Asked before it is read: what came last is not missed.
  if [ -e "$GROWS" ]; then more=yes; else more=; fi
  if [ -z "$placed" ] && [ "$(stat -Lc %s /proc/self/fd/0)" -ge "$at" ]; then
    dd iflag=skip_bytes skip="$at" count=0 2>/dev/null && [ "$(position)" = "$at" ] || exit 1
    placed=yes
  fi
  if [ -n "$placed" ]; then
    cat || exit 1 # from where the last one ended
    [ "$(position)" -lt "$SIZE" ] || exit 0
  fi
  # A part that was thrown away has no name any more.
  [ -n "$more" ] && [ "$(stat -Lc %h /proc/self/fd/0)" != 0 ] || exit 1
  sleep 0.1
done
