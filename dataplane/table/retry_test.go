package table

import "testing"

func TestASetOfStatusesHasThoseThatWereAddedAndNoOther(t *testing.T) {
	for added := uint16(100); added < 700; added++ {
		var s RetryStatuses
		s.Add(added)
		for status := uint16(0); status < 1000; status++ {
			if want := status == added && added >= 400 && added <= 599; s.Has(status) != want {
				t.Fatalf("with %d it has %d: %v", added, status, s.Has(status))
			}
		}
	}
}
