# The API keys arrive on standard input: not in the script, not in the process list.
mkdir -p "${KEY%/*}"
write "$KEY" 600
