//go:build !linux

package hugepage

import "errors"

// collapse does nothing here.
func collapse(func() bool) (int64, error) { return 0, errors.ErrUnsupported }
