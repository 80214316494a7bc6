//go:build !linux

package fleettest

import "time"

// threadTime is not known on this system: no machine is crowded.
func threadTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
