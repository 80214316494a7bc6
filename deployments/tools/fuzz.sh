#!/usr/bin/env bash
# Fuzzes every fuzz target of the given modules, one after another.
#   fuzz.sh TAGS TIME MODULE...
set -euo pipefail
cd "$(dirname "$0")/../.."

tags=$1 time=$2
shift 2

count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	echo "== $target in ./$(dirname "$file") for $time"
	# Minimising has 60 s by default for each input that finds something new. What crypto/tls
	# runs through is another path each time, so FuzzPeek did little else.
	go test -tags "$tags" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "./$(dirname "$file")"
done < <(grep -rhoHE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' "$@" |
	sed -E 's/:func (Fuzz[A-Za-z0-9_]*)\(/:\1/' | sort)

echo "== $count fuzz targets, each clean for $time"
