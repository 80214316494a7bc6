#!/usr/bin/env bash
# Runs every test of the workspace and ends with one summary.
#
#   1. All modules but the end-to-end one, under the race detector; packages that
#      other processes or members may not keep waiting, see "timely" below, alone.
#   2. Tests that measure, without it: it allocates and slows down by itself. They
#      are told by their names, see "measures" below.
#      The comparison with net/http runs again, ten times as long.
#   3. The modules below deployments, on the binaries in bin/ as users get them; the
#      tools have their own versions of what they need, and run outside the workspace.
#
# A part that fails does not keep the next from running. Many tests hold processes to
# times, and a machine may stand still meanwhile: up to three tests of a package that
# fail run once more, alone, and who passes then is named in the summary. A data race, a
# panic and a failure to build get no second chance.
set -euo pipefail
cd "$(dirname "$0")/../.."

tags=$1
measures='Alloc|Costs|Promise|NotLate'
timely='/dataplane/(agent|gossip|poll)$'
failed=$(mktemp)
events=$(mktemp)
trap 'rm -f "$failed" "$events" "$events.again"' EXIT

# part FLAG ... -- PACKAGE ...
part() {
	local flags=(-json -tags "$tags" -timeout 9m) package tests
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

status=0
{
	mapfile -t packages < <(go list -tags "$tags" ./proto/... ./dataplane/... ./controlplane/... ./cli/... | grep -vE "$timely")
	part -race -skip "$measures" -- "${packages[@]}"
	mapfile -t packages < <(go list -tags "$tags" ./dataplane/... | grep -E "$timely")
	part -race -p 1 -skip "$measures" -- "${packages[@]}"
	part -run "$measures" -- ./proto/... ./dataplane/... ./controlplane/... ./cli/...
	DIFFERENTIAL=1000000 part -run TestDifferential -- ./dataplane/http1
	for module in deployments/*/go.mod; do
		[[ $module == deployments/tools/go.mod ]] || part -count=1 -- "./$(dirname "$module")/..." # what is in bin/ is not seen by the cache
	done
	(cd deployments/tools && GOWORK=off go test -json ./...) || echo "go test ./... in deployments/tools" >>"$failed"
} | bin/tools/testsummary || status=1

if [[ -s $failed ]]; then
	sed 's/^/failed: /' "$failed" >&2
	status=1
fi
exit $status
