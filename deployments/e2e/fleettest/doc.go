// Package fleettest starts fleets of the real binaries for tests: a control
// plane (embedded or external etcd), nodes and sample backends, on addresses of
// their own. Everything ends with the test.
package fleettest
