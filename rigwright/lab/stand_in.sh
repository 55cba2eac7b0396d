#!/bin/sh
# This is a stand-in of `rigwright lab`, not the real tool: it replays what a real machine said, and refuses the rest.
here=/usr/lib/rigwright-lab
tool=${0##*/}
asked="$tool${*:+ $*}"
machine=$(cat "$here/name")

refuse() {
    echo "stand-in $tool: no recording of $1 in $machine; record it on a real machine" >&2
    exit 64
}

# One recorded answer per line: command, file, exit code. A command that ends in * answers whatever is asked.
answer=$(ASKED=$asked TOOL=$tool awk -F '\t' \
    '$1 == ENVIRON["ASKED"] || $1 == ENVIRON["TOOL"] " *" { print $2 "\t" $3; exit }' "$here/answers.tsv")
if [ -n "$answer" ]; then
    cat "$here/machine/${answer%	*}"
    exit "${answer#*	}"
fi

fields='' format=''
for argument; do
    case $argument in
        --query-gpu=*) fields=${argument#*=} ;;
        --format=csv | --format=csv,*) format=${argument#*=} ;;
        *) refuse "\`$asked\`" ;;
    esac
done
if [ -z "$fields" ] || [ -z "$format" ] || [ ! -f "$here/query.csv" ]; then
    refuse "\`$asked\`"
fi

FIELDS=$fields FORMAT=,$format, MACHINE=$machine awk -F ', ' '
    FILENAME ~ /aliases.tsv$/ { split($0, pair, "\t"); alias[pair[1]] = pair[2]; next }
    FNR == 1 {
        for (i = 1; i <= NF; i++) {
            name = $i
            if (match(name, / \[.*\]$/)) {
                unit[i] = " " substr(name, RSTART + 2, RLENGTH - 3)
                name = substr(name, 1, RSTART - 1)
            }
            column[name] = i
        }
        wanted = split(ENVIRON["FIELDS"], asked, / *, */)
        for (i = 1; i <= wanted; i++) {
            name = (asked[i] in alias) ? alias[asked[i]] : asked[i]
            if (name in column) pick[++picked] = column[name]
            else {
                print "stand-in nvidia-smi: no recording of field " asked[i] " in " ENVIRON["MACHINE"] \
                    "; record it on a real machine" > "/dev/stderr"
                code = 64
            }
        }
        # With a header, what was recorded is said all the same: no column can be taken for another.
        if (!picked || (code && index(ENVIRON["FORMAT"], ",noheader,"))) exit
        if (index(ENVIRON["FORMAT"], ",noheader,")) next
    }
    {
        line = ""
        for (i = 1; i <= picked; i++) {
            value = $pick[i]
            suffix = unit[pick[i]]
            bare = length(value) - length(suffix)
            if (FNR > 1 && suffix != "" && index(ENVIRON["FORMAT"], ",nounits,") && substr(value, bare + 1) == suffix)
                value = substr(value, 1, bare)
            line = line (i > 1 ? ", " : "") value
        }
        print line
    }
    END { exit code }' "$here/aliases.tsv" "$here/query.csv"
