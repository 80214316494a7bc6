package nodes

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// TestAListThatDeadMachinesHoldBackIsTold, since deleting these changes nothing, until one of
// them is there again.
func TestAListThatDeadMachinesHoldBackIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, withList(&fleetv1.ListRecord{
			Revision: 10, Lineage: 3, Members: []string{"a", "b", "c", "d", "e"}, Before: []string{"a", "b", "c", "d"},
		}))
		for _, id := range []string{"d", "e"} {
			join(t, r, &fleetv1.Hello{NodeId: id}).inBackground()
		}
		time.Sleep(standsFor / 2)
		if got := r.Notices(); len(got) > 0 {
			t.Errorf("after a moment: %q", got)
		}
		time.Sleep(standsFor)
		if got := r.Notices(); len(got) != 1 || !strings.Contains(got[0], "1 of a, b, c must report it first") {
			t.Errorf("%q", got)
		}
		join(t, r, &fleetv1.Hello{NodeId: "b"}).inBackground()
		eventually(t, "nothing is told any more", func() bool { return len(r.Notices()) == 0 })
	})
}

func TestNodesForWhichTheListHasNoPlaceAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &fleetv1.ListRecord{Revision: 10, Lineage: 3}
		for i := range roster.MaxMembers {
			list.Members = append(list.Members, fmt.Sprintf("m%04d", i))
		}
		records := withList(list)
		for _, id := range list.GetMembers() {
			know(records, &fleetv1.NodeRecord{NodeId: id})
		}
		r := open(t, records)
		join(t, r, &fleetv1.Hello{NodeId: "late"})
		eventually(t, "it is told", func() bool {
			got := r.Notices()
			return len(got) == 1 && strings.Contains(got[0], "without a part in virtual IPs: late: delete")
		})
	})
}
