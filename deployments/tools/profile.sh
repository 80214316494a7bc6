#!/usr/bin/env bash
# Writes the profile by which the compiler optimises the node (PGO): what a node's
# processor time goes into while it carries each protocol, in equal shares.
#
#   profile.sh SECONDS FILE    SECONDS for each protocol
#
# Two nodes run on loopback: one answers, the other carries requests to it and is
# looked at. wrk and h2load send; all end with the script.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=$1 file=$2
dir=$(mktemp -d)
pids=()
finish() {
	[[ ${#pids[@]} -eq 0 ]] || kill "${pids[@]}" 2>/dev/null || true
	wait
	rm -rf "$dir"
}
trap finish EXIT

for program in wrk h2load curl openssl; do
	command -v $program >/dev/null || { echo "profile: $program is not installed (make deps)" >&2; exit 1; }
done

backend=127.83.0.1 proxy=127.83.0.2 admin=127.83.0.2:7402
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=profile.test \
	-addext subjectAltName=DNS:profile.test,DNS:*.profile.test -keyout "$dir/key.pem" -out "$dir/chain.pem" 2>/dev/null

body=$(head -c 1024 /dev/zero | tr '\0' x)
cat >"$dir/backend.yaml" <<EOF
kind: Listener
name: web
spec: {port: 8080, addresses: [$backend], protocol: HTTP}
---
kind: Route
name: all
spec: {respond: {status: 200, body: $body, headers: {content-type: text/plain}}}
EOF

{
	cat <<EOF
kind: Certificate
name: profile
spec: {chainFile: chain.pem, keyFile: key.pem}
---
kind: Listener
name: web
spec: {port: 8080, addresses: [$proxy], protocol: HTTP}
---
kind: Listener
name: secure
spec: {port: 8443, addresses: [$proxy], protocol: HTTPS, tls: {certificates: [profile]}}
---
kind: Upstream
name: http1
spec: {endpoints: [{address: "$backend:8080"}], pool: {maxConnections: 1000, maxIdle: 1000}}
---
kind: Upstream
name: http2
spec: {protocol: HTTP2, endpoints: [{address: "$backend:8080"}]}
EOF
	for i in $(seq 100); do
		for version in 1 2; do
			cat <<EOF
---
kind: Route
name: route-$i-$version
spec:
  hosts: [host-$i.profile.test]
  match: {path: {prefix: /http$version}}
  forward: [{upstream: http$version}]
  responseHeaders: {set: {x-served-by: profile}}
EOF
		done
	done
} >"$dir/proxy.yaml"

cat >"$dir/wrk.lua" <<'EOF'
function request()
   return wrk.format("GET", "/http1/item", {["Host"] = "host-" .. math.random(100) .. ".profile.test"})
end
EOF

node() { # NAME ADMIN FLAGS…: starts a node in the background
	bin/proxy-dataplane --resources "$dir/$1.yaml" --admin-address "$2" --loops 1 "${@:3}" 2>"$dir/$1.log" &
	pids+=($!)
	for _ in $(seq 100); do
		! curl -fs -o "$dir/ready" "http://$2/readyz" || return 0
		sleep 0.1
	done
	cat "$dir/$1.log" >&2
	return 1
}
node backend $backend:7402 --access-log off
node proxy $admin --access-log "$dir/access.log"

watch() { # NAME COMMAND…: what the node does while a load runs
	local name=$1
	shift
	"$@" >"$dir/$name.out" 2>&1 &
	local load=$!
	curl -fs -o "$dir/$name.pb" "http://$admin/debug/pprof/profile?seconds=$seconds"
	wait $load || { cat "$dir/$name.out" >&2; return 1; }
	echo "$name: $(grep -ihE '^(requests/sec|finished in)' "$dir/$name.out")"
}
long=$((seconds + 1))
watch http1 wrk -t1 -c64 -d${long}s -s "$dir/wrk.lua" http://$proxy:8080
watch tls wrk -t1 -c64 -d${long}s -s "$dir/wrk.lua" https://$proxy:8443
for version in 1 2; do
	watch http2-to-$version h2load -c8 -m32 -D $long --connect-to=$proxy:8443 https://host-1.profile.test:8443/http$version/item
done

go tool pprof -proto "$dir"/*.pb >"$dir/merged" 2>/dev/null
mv "$dir/merged" "$file"
echo "$file: $(stat -c %s "$file") bytes"
