# Between weights/accept.sh and weights/download.sh: what arrives is an archive, and no model file.
# accept FILE: refuse what is not the file that $SHA256 names; leaves its sum in $sum.
accept() {
  say "checking ${DEST##*/}"
  sum_of "$1"
  [ "$sum" = "$SHA256" ] || {
    rm -f -- "$PART"
    fail "$DEST: sha256 is $sum, expected $SHA256; nothing was installed, correct the source or the sum"
  }
}
# Removal takes their folder.
record() { :; }
offer() { :; }
