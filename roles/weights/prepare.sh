# The directory and a place to upload to. A leftover of an interrupted upload stays: it is continued, or removal takes it.
install -d -m 755 -- "${DEST%/*}"
lock
record "$DEST.part"
