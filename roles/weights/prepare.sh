# The directory and a place to upload to. A leftover of an interrupted upload stays: it is continued.
mkdir -p "${DEST%/*}"
