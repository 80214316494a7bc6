#!/usr/bin/env bash
# Installs the named Debian packages that are missing. Without root or apt it
# only says so: tests that need them skip with the reason.
set -euo pipefail

missing=()
for package in "$@"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[[ $status == installed ]] || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
	echo "deps: all there: $*"
elif ! command -v apt-get >/dev/null; then
	echo "deps: no apt-get here; tests that need one of these skip: ${missing[*]}"
elif [[ $(id -u) != 0 ]]; then
	echo "deps: not root; tests that need one of these skip: ${missing[*]}"
else
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
