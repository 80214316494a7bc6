package agent

import "time"

// hearPulse takes a sign of life, if there is one, and judges whether the main
// process is alive.
func (l *loop) hearPulse(p pulse, now int64) {
	l.takePulse(p, now)
	l.judgeSilence(now)
}

// takePulse takes a sign of life. One that was written long ago, and read only now since
// it was the agent that was stopped, makes nobody alive again; nor does it end what
// silence since then would not.
func (l *loop) takePulse(p pulse, now int64) {
	if p.at <= l.heard || p.at > now {
		return
	}
	alive, healthy := l.alive, l.healthy
	l.heard, l.healthy, l.looked = p.at, p.healthy, 0
	l.alive = l.alive || now-l.heard < int64(silence)
	if l.alive != alive || l.healthy != healthy {
		l.reportAt = now
	}
}

// judgeSilence looks at a main process that is alive, but silent, when it is time to.
func (l *loop) judgeSilence(now int64) {
	if !l.alive || now < l.nextLook() {
		return
	}
	first := l.looked == 0
	stopped, starved := l.look(now)
	l.looked = now
	quiet := time.Duration(now - l.heard)
	switch {
	case quiet < silence, first && !stopped && quiet < starvedFor: // to compare the next look with
	case starved && quiet < starvedFor:
		l.log.Debug("vip-agent: the main process waits for a processor; its virtual IPs stay for now", "silent", quiet, "at_most", starvedFor)
	default:
		l.alive, l.reportAt = false, now
		l.log.Warn("vip-agent: no sign of life: this node leaves its virtual IPs to others until there is one",
			"silent", quiet, "main_process", whatItDoes(stopped, starved))
	}
}

// nextLook is when to look at a main process that is silent.
func (l *loop) nextLook() int64 {
	due := l.heard + int64(silence-lookEach)
	if l.looked != 0 {
		due = max(l.looked+int64(lookEach), l.heard+int64(silence))
	}
	return due
}

func whatItDoes(stopped, starved bool) string {
	switch {
	case stopped:
		return "is stopped"
	case starved:
		return "gets no processor time"
	}
	return "hangs, or one of its loops does"
}
