# A toolkit that packages brought, or that was there: it has to compile before a build relies on it.
undo() { fail "$*; see its packages on the rig, or set rig.cuda.source"; }
prove "$NVCC"
lock
proven "$NVCC"
say "CUDA $VERSION is ready: $NVCC"
