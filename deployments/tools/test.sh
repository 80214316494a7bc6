#!/usr/bin/env bash
# Runs every test of the workspace and ends with one summary.
#
#   1. All modules but those below deployments, under the race detector; packages that
#      other processes or members may not keep waiting, see "timely" below, alone.
#   2. Without it, what it would slow down or spoil for nothing: packages in which one
#      goroutine does all, with all seeds of their simulations and ten times as many
#      requests for the comparison with net/http; and of the others tests that measure,
#      which are told by their names, see "measures" below: no other test has such a name,
#      since it would not run under the race detector.
#   3. The modules below deployments, on the binaries in bin/ as users get them; the
#      tools have their own versions of what they need, and run outside the workspace.
#
# A part that fails does not keep the next from running. Many tests hold processes to
# times, and a machine may stand still meanwhile: up to three tests of a package that
# fail run once more, alone, and who passes then is named in the summary. A data race, a
# panic and a failure to build get no second chance. Nothing is vetted: make lint does that.
set -euo pipefail
cd "$(dirname "$0")/../.."

tags=$1
project=github.com/proxyfleet/proxyfleet
measures='Alloc|Costs|Promise|NotLate'
timely='/dataplane/(agent|gossip|poll)$'
failed=$(mktemp)
events=$(mktemp)
trap 'rm -f "$failed" "$events" "$events.again"' EXIT

# Without their paths packages are compiled once for the binaries, the tools and the tests,
# whichever of these wants them first.
GOFLAGS="$(go env GOFLAGS) -trimpath"
export GOFLAGS
# A program under the race detector waits at its end for what other threads may still
# report, for a second unless told otherwise. Each package's tests are such a program, and
# some start others.
export GORACE=atexit_sleep_ms=50
# The node's profile would have all packages below it compiled once more. What debuggers
# need is a sixth of compiling, and nobody debugs these.
race=(-race -pgo=off -gcflags=all=-dwarf=false)

# The longest first, each with what it needs: its tests run while others are compiled, for
# which one more may run at a time than there are processors, as it waits half of its time.
longest=(dataplane/evloop controlplane/store dataplane/http2)
beside=$(($(nproc) + 1))

# part FLAG ... -- PACKAGE ...
part() {
	# Those that may run beside others wait most of the time.
	local flags=(-json -tags "$tags" -timeout 9m -vet=off -parallel 4) package tests
	while [[ $1 != -- ]]; do
		flags+=("$1")
		shift
	done
	go test "${flags[@]}" "${@:2}" | tee "$events" && return
	bin/tools/testsummary -again <"$events" >"$events.again"
	[[ -s $events.again ]] || echo "go test ${flags[*]} ${*:2}" >>"$failed"
	while read -r package tests; do
		go test "${flags[@]}" -count=1 -run "$tests" "$package" </dev/null || echo "go test -run $tests $package" >>"$failed"
	done <"$events.again"
}

# single lists the packages that start no goroutine, as floors_test.go holds pure ones to,
# and whose tests start none.
single() {
	local module dir
	for module in proto dataplane controlplane cli; do
		sed -nE 's/.*Dir: "([^"]+)".*Pure: true.*/\1/p' "$module/floors_test.go" | while read -r dir; do
			grep -qsE '^\s*go |\.Go\(|t\.Parallel\(' "$module/$dir"/*_test.go || echo "$project/$module/$dir"
		done
	done
}

# measuring lists the packages that have tests that measure.
measuring() {
	grep -rlE --include='*_test.go' "^func (Test|Example|Fuzz)\w*($measures)" proto dataplane controlplane cli |
		sed -E "s|/[^/]*\$||; s|^|$project/|" | sort -u
}

status=0
{
	mapfile -t single < <(single)
	mapfile -t longest < <(printf "$project/%s\n" "${longest[@]}")
	mapfile -t packages < <(go list -tags "$tags" ./proto/... ./dataplane/... ./controlplane/... ./cli/... |
		grep -vE "$timely" | grep -vxF -f <(printf '%s\n' "${single[@]}" "${longest[@]}"))
	part "${race[@]}" -p "$beside" -skip "$measures" -- "${longest[@]}" "${packages[@]}"
	mapfile -t packages < <(go list -tags "$tags" ./dataplane/... | grep -E "$timely")
	part "${race[@]}" -p 1 -skip "$measures" -- "${packages[@]}"
	DIFFERENTIAL=1000000 part -- "${single[@]}"
	mapfile -t packages < <(measuring | grep -vxF -f <(printf '%s\n' "${single[@]}") | grep -vE "$timely")
	part -run "$measures" -- "${packages[@]}"
	mapfile -t packages < <(measuring | grep -E "$timely")
	part -p 1 -run "$measures" -- "${packages[@]}"
	for module in deployments/*/go.mod; do
		[[ $module == deployments/tools/go.mod ]] || part -count=1 -- "./$(dirname "$module")/..." # what is in bin/ is not seen by the cache
	done
	(cd deployments/tools && GOWORK=off go test -json -vet=off ./...) || echo "go test ./... in deployments/tools" >>"$failed"
} | bin/tools/testsummary || status=1

if [[ -s $failed ]]; then
	sed 's/^/failed: /' "$failed" >&2
	status=1
fi
exit $status
