# Holds the command line of $NAME to the parser of the vLLM that is to take it, before anything stops. Importing vLLM takes half
# a minute: what it took once is not asked again.
checked=/var/lib/rigwright/services/$NAME/checked
asked=$(printf '%s\n' "$RELEASE" "$ARGV" "$CHECK" | sha256sum)
if [ "$(cat -- "$checked" 2>/dev/null)" != "$asked" ]; then
  say "$NAME: asking vLLM whether it takes its command line"
  eval "set -- $ARGV"
  said=$(in_sandbox 600 /usr/bin/env HOME=/tmp TMPDIR=/tmp PYTHONDONTWRITEBYTECODE=1 "$RELEASE/bin/python" -I -c "$CHECK" "$@" 2>&1) && status=0 || status=$?
  case $status in
    0)
      install -d -m 755 "${checked%/*}"
      printf '%s\n' "$asked" | write "$checked" 644 ;;
    3) fail "$NAME: vLLM refuses its command line: $(printf '%s\n' "$said" | sed -n 's/^refused: //p' | head -n1); correct flags, what runs was left alone" ;;
    *) why "$NAME: vLLM could not be asked whether it takes its command line: $(printf '%s\n' "$said" | grep -v '^Running as unit\|^Finished\|^Main process' | grep . | tail -n1 | cut -c1-200)" ;;
  esac
fi
