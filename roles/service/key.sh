# A file of a service arrives on standard input, keys of its API or its template: not in the script, nor in a process list.
lock
own "$NAME"
install -d -m 755 "${FILE%/*}"
write "$FILE" "$MODE"
