# Finds the commit of $REF once and remembers it: what was built stays what is built. `latest` is the newest release: the
# highest vX.Y.Z, or where there is none the highest bN.
case $REF in
  latest) set -- 'refs/tags/v*' 'refs/tags/b*' ;;
  *) set -- "refs/tags/$REF^{}" "refs/tags/$REF" "refs/heads/$REF" ;;
esac
# The server is a stranger: git asks it as the builder, shut in like a build.
out=$(shut_in --uid="$BUILDER" --gid="$BUILDER" --pipe --wait --collect --description="rigwright finds a commit" -p RuntimeMaxSec=60 --setenv=GIT_TERMINAL_PROMPT=0 \
  -- git ls-remote -- "$GIT" "$@" 2>&1) ||
  fail "$GIT cannot be read: $(echo "$out" | grep -m1 -E 'fatal|error' || echo "${out:-no answer within 60 s}" | tail -n1); check rig.llamacpp.git"
name=$REF
if [ "$REF" = latest ]; then
  name=$(echo "$out" | awk '
    { tag = $2; sub(/^refs\/tags\//, "", tag) }
    tag ~ /^(v[0-9]+\.[0-9]+\.[0-9]+|b[0-9]+)$/ && length(tag) < 25 {
      split(substr(tag, 2), part, ".")
      rank = sprintf("%s%09d%09d%09d", substr(tag, 1, 1), part[1], part[2], part[3])
      if (rank > best) { best = rank; newest = tag }
    }
    END { print newest }')
  [ -n "$name" ] || fail "rig.llamacpp.ref: $GIT has no release, neither a tag like v1.2.3 nor one like b1234; name a tag or a full commit"
  out=$(echo "$out" | awk -v tag="refs/tags/$name" '$2 == tag || $2 == tag "^{}"')
fi
commit=$(echo "$out" | awk '/\^\{\}$/ { print $1; exit }')
commit=${commit:-$(echo "$out" | awk '$2 ~ /^refs\/tags\// { print $1; exit }')}
if [ -z "$commit" ]; then
  head=$(echo "$out" | awk '$2 ~ /^refs\/heads\// { print $1; exit }')
  [ -z "$head" ] || fail "rig.llamacpp.ref: $REF is a branch, and branches move; name a tag or a commit (today it is $head)"
  fail "rig.llamacpp.ref: $GIT has no tag $REF; name a tag or a full commit"
fi
install -d -m 755 "${STAMP%/*}"
printf '%s\n' "$commit" | write "$STAMP" 644
[ "$REF" != latest ] || name="latest, $name,"
say "$name is commit $commit"
