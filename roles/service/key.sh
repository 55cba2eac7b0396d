# The API keys arrive on standard input: not in the script, not in the process list.
lock
own "$NAME"
install -d -m 755 "${KEY%/*}"
write "$KEY" 600
