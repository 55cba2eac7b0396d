# Makes toolkit $AT of $ARCHIVE, in one step: half of one never has its name, and what was there stays until it has.
lock
stage=${AT%/*}/.${AT##*/}
undo() {
  rm -rf -- "${stage:?}"
  fail "$*"
}
# What an installation that was cut left.
rm -rf -- "${AT%/*}"/.[0-9]*
install -d -m 755 "$stage"
say "unpacking CUDA $VERSION"
# An upload is continued by size alone: a damaged one shows here.
if ! said=$(tar -xzf "$ARCHIVE" -C "$stage" --no-same-owner 2>&1) || ! (cd "$stage" && sha256sum -c sums.txt >/dev/null 2>&1); then
  case $said in *'No space'*) undo "unpacking CUDA $VERSION: no space left in ${AT%/*}; free some" ;; esac
  rm -f -- "$ARCHIVE"
  undo "the archive of CUDA $VERSION arrived damaged and was thrown away; run again"
fi
# What programs link with where there is no driver. An empty one would do for the linker, and then the program would not
# ask for the driver's library: every function that its header names is in it.
install -d -m 755 "$stage/lib/stubs"
grep -ohE '\bcu[A-Z][A-Za-z0-9_]*' "$stage/include/cuda.h" | sort -u | sed 's/.*/void &(void) {}/' >"$stage/stub.c"
said=$(cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$stage/lib/stubs/libcuda.so" "$stage/stub.c" 2>&1) ||
  undo "the compiler made no stub of libcuda: $(printf '%s\n' "$said" | tail -n1); install g++ on the rig"
rm -f -- "$stage/stub.c"
(cd "$stage" && sha256sum ./lib/stubs/libcuda.so) >>"$stage/sums.txt"
chown -R --no-dereference root:root "$stage"
chmod -R u=rwX,go=rX "$stage"
prove "$stage/bin/nvcc"
[ ! -e "$AT" ] || mv -T "$AT" "$stage.gone"
mv -T "$stage" "$AT"
rm -rf -- "$stage.gone" "$ARCHIVE"
proven "$AT/bin/nvcc"
say "CUDA $VERSION is ready: $AT"
