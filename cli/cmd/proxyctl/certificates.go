package main

import (
	"fmt"
	"strings"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// certificateHeader is for certificateCells.
func certificateHeader(wide bool) []string {
	header := []string{"NAME", "NAMES", "ISSUER", "NOT AFTER", "LEFT", "KEY"}
	if wide {
		header = append(header, "FINGERPRINT", "NOT BEFORE", "KEY FINGERPRINT")
	}
	return header
}

func certificateCells(d *fleetv1.Certificate, wide bool, limit int, now time.Time) []string {
	chain, fault := certificate.ParseChain(d.GetChain())
	if fault != nil {
		return []string{"cannot be read"}
	}
	info := certificate.Describe(chain[0])
	names := info.Names
	if len(names) == 0 {
		names = []string{info.Subject}
	}
	cells := []string{visible(short(names, limit)), visible(cut(info.Issuer, limit)), info.NotAfter.Format(time.DateOnly), leftText(info.NotAfter.Sub(now)), info.KeyType}
	if wide {
		cells = append(cells, info.Fingerprint, info.NotBefore.Format(time.DateOnly), info.KeyFingerprint)
	}
	return cells
}

// leftText is how long a certificate is still good.
func leftText(left time.Duration) string {
	days := int(left / (24 * time.Hour))
	switch {
	case left < 0:
		return "EXPIRED"
	case days == 0:
		return "< 1 day"
	case days == 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", days)
	}
}

// writeWarnings tells what somebody should see to.
func writeWarnings(b *strings.Builder, warnings []api.Warning, on bool) {
	for _, w := range warnings {
		of := ""
		if w.Kind != "" {
			of = resourceName(w.Kind, w.Name) + " "
		}
		fmt.Fprintf(b, "%s %s%s\n", paint(on, yellow, "warning:"), of, visible(w.Message))
	}
}

// writeKept tells which certificates a rollback left as they are.
func writeKept(b *strings.Builder, kept []api.KeptCertificate, on bool) {
	for _, k := range kept {
		why := "was issued before the one in force"
		if k.Reason == api.KeptExpired {
			why = "has expired"
		}
		stays := "there is none now"
		if k.InForce != nil {
			stays = "the one that ends on " + k.InForce.Format(time.DateOnly) + " stays"
		}
		fmt.Fprintf(b, "%s %s the one of that revision, which ends on %s, %s: %s (--with-certificates brings it back)\n",
			resourceName(resource.Certificate, k.Name), paint(on, yellow, "kept:"), k.NotAfter.Format(time.DateOnly), why, stays)
	}
}
