# The directory and a place to upload to. A leftover of an interrupted upload stays: it is continued.
install -d -m 755 -- "${DEST%/*}"
