//go:build !linux

package compile

import "time"

// cpuTime is not measured here.
func cpuTime() time.Duration { return 0 }
