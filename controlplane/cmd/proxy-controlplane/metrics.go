package main

import (
	"crypto/x509"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/replicas"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/controlplane/stream"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// Names of the metrics of the control plane. Units are suffixes.
const (
	metricBuildInfo = "proxyfleet_controlplane_build_info"
	metricUnwritten = "proxyfleet_controlplane_messages_dropped_total"

	metricEpoch       = "proxyfleet_controlplane_wanted_epoch"
	metricRevision    = "proxyfleet_controlplane_wanted_revision"
	metricResources   = "proxyfleet_controlplane_wanted_resources"
	metricUnpublished = "proxyfleet_controlplane_head_unpublished"
	metricAccepted    = "proxyfleet_controlplane_epoch_accepted"

	// As nodes call it, of the certificates that are wanted.
	metricCertificateEnd = "proxyfleet_certificate_not_after_seconds"

	metricPublished      = "proxyfleet_controlplane_published_total"
	metricUnpublishable  = "proxyfleet_controlplane_unpublishable_total"
	metricChecks         = "proxyfleet_controlplane_checks_total"
	metricCompiled       = "proxyfleet_controlplane_compilations_total"
	metricCached         = "proxyfleet_controlplane_compilations_saved_total"
	metricBasesLoaded    = "proxyfleet_controlplane_bases_loaded_total"
	metricContradictions = "proxyfleet_controlplane_contradictions_total"
	metricPublishSeconds = "proxyfleet_controlplane_publish_seconds"

	metricNodes          = "proxyfleet_controlplane_nodes"
	metricConnected      = "proxyfleet_controlplane_nodes_connected"
	metricStreams        = "proxyfleet_controlplane_streams_total"
	metricStreamsRefused = "proxyfleet_controlplane_streams_refused_total"
	metricUpdates        = "proxyfleet_controlplane_updates_total"
	metricWholes         = "proxyfleet_controlplane_updates_whole_total"
	metricEncodings      = "proxyfleet_controlplane_update_encodings_total"
	metricConfigBytes    = "proxyfleet_controlplane_update_config_bytes_total"
	metricWireBytes      = "proxyfleet_controlplane_update_wire_bytes_total"
	metricAcks           = "proxyfleet_controlplane_acks_total"
	metricNacks          = "proxyfleet_controlplane_nacks_total"
	metricDrifts         = "proxyfleet_controlplane_drifts_total"
	metricAnswerSeconds  = "proxyfleet_controlplane_answer_seconds"
	metricSpreadSeconds  = "proxyfleet_controlplane_spread_seconds"

	metricReplicas        = "proxyfleet_controlplane_replicas"
	metricReplicaWrites   = "proxyfleet_controlplane_replica_writes_total"
	metricReplicaFailures = "proxyfleet_controlplane_replica_writes_failed_total"
	metricReplicaBytes    = "proxyfleet_controlplane_replica_written_bytes_total"
	metricReplicaHeard    = "proxyfleet_controlplane_replica_heard_seconds"

	metricRequests       = "proxyfleet_controlplane_rest_requests_total"
	metricRequestSeconds = "proxyfleet_controlplane_rest_request_seconds"

	metricGarbageRuns   = "proxyfleet_controlplane_garbage_runs_total"
	metricGarbageBlobs  = "proxyfleet_controlplane_garbage_blobs_total"
	metricGarbageChange = "proxyfleet_controlplane_garbage_changes_total"

	metricEtcdFile  = "proxyfleet_controlplane_etcd_file_bytes"
	metricEtcdInUse = "proxyfleet_controlplane_etcd_in_use_bytes"
	metricEtcdQuota = "proxyfleet_controlplane_etcd_quota_bytes"
	metricEtcdFull  = "proxyfleet_controlplane_etcd_full"
)

// metrics is the registry of the process. What packages count themselves is read
// at scrape.
type metrics struct {
	build    api.Build
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	garbageRuns    *prometheus.CounterVec
	garbageBlobs   prometheus.Counter
	garbageChanges prometheus.Counter

	etcdFile, etcdInUse, etcdQuota, etcdFull prometheus.Gauge
}

func newMetrics(build api.Build) *metrics {
	m := &metrics{
		build:    build,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricRequests, Help: "REST requests finished, by operation and status."}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: metricRequestSeconds, Help: "Time that REST requests took, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 14),
		}, []string{"operation"}),
		garbageRuns:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricGarbageRuns, Help: "Garbage collections, by result."}, []string{"result"}),
		garbageBlobs:   prometheus.NewCounter(prometheus.CounterOpts{Name: metricGarbageBlobs, Help: "Blobs deleted by garbage collections."}),
		garbageChanges: prometheus.NewCounter(prometheus.CounterOpts{Name: metricGarbageChange, Help: "Changes that left the history."}),
		etcdFile:       prometheus.NewGauge(prometheus.GaugeOpts{Name: metricEtcdFile, Help: "Size of etcd's database, what is free in it included."}),
		etcdInUse:      prometheus.NewGauge(prometheus.GaugeOpts{Name: metricEtcdInUse, Help: "Bytes of etcd's database that are in use."}),
		etcdQuota:      prometheus.NewGauge(prometheus.GaugeOpts{Name: metricEtcdQuota, Help: "Size of its database at which etcd takes no more changes; 0: it does not tell."}),
		etcdFull:       prometheus.NewGauge(prometheus.GaugeOpts{Name: metricEtcdFull, Help: "1 while etcd takes no changes since it came to its quota."}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricBuildInfo, Help: "1; its labels say what program this is.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "go": build.Go},
	})
	info.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info, m.requests, m.seconds, m.garbageRuns, m.garbageBlobs, m.garbageChanges,
		m.etcdFile, m.etcdInUse, m.etcdQuota, m.etcdFull,
	)
	return m
}

// messages adds how many of the process's could not be written.
func (m *metrics) messages(unwritten func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: metricUnwritten, Help: "Messages of the process that were left out, since standard error did not take them."},
		func() float64 { return float64(unwritten()) },
	))
}

// watch adds what the parts count.
func (m *metrics) watch(p *parts) {
	m.registry.MustRegister(&fleetCollector{publisher: p.publisher, nodes: p.nodes, replicas: p.replicas, streams: p.streams})
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// observe counts a REST request. Operations come from one table, so that their
// number is bounded.
func (m *metrics) observe(operation string, status int, took time.Duration) {
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	if operation != "events" { // a stream's length says nothing
		m.seconds.WithLabelValues(operation).Observe(took.Seconds())
	}
}

func (m *metrics) garbage(c store.Collected, err error) {
	result := "done"
	if err != nil {
		result = "failed"
	}
	m.garbageRuns.WithLabelValues(result).Inc()
	m.garbageBlobs.Add(float64(c.Blobs))
	m.garbageChanges.Add(float64(c.Changes))
}

func (m *metrics) space(s store.Space) {
	m.etcdFile.Set(float64(s.File))
	m.etcdInUse.Set(float64(s.InUse))
	m.etcdQuota.Set(float64(s.Quota))
	m.etcdFull.Set(truth(s.Full))
}

// fleetCollector reads the counters of the publisher and the streams at scrape.
type fleetCollector struct {
	publisher *publish.Publisher
	nodes     *nodes.Registry
	replicas  *replicas.Replicas // nil: none
	streams   *stream.Server
}

// Describe sends nothing: the collector is unchecked, its names are constants.
func (c *fleetCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *fleetCollector) Collect(out chan<- prometheus.Metric) {
	c.collectWanted(out)
	c.collectPublisher(out)
	c.collectNodes(out)
	if c.replicas != nil {
		c.collectReplicas(out)
	}
}

func (c *fleetCollector) collectWanted(out sink) {
	wanted := c.publisher.Wanted()
	out.gauge(metricEpoch, "Epoch of the version that is wanted of the nodes.", float64(wanted.Epoch))
	out.gauge(metricRevision, "Revision of the version that is wanted of the nodes.", float64(wanted.Revision))
	out.gauge(metricResources, "Resources of the version that is wanted of the nodes.", float64(wanted.Tree.Len()))
	out.gauge(metricAccepted, "1 if the epoch is accepted, so that no node holds it.", truth(wanted.Accepted))
	_, unpublished := c.publisher.Unpublished()
	out.gauge(metricUnpublished, "1 if the head does not compile in this build and nodes keep the version before.", truth(unpublished))
	for _, e := range endingFirst(c.publisher.Certificates()) {
		out.gauge(metricCertificateEnd, "When a certificate ends, in Unix time.", float64(e.notAfter.Unix()), "certificate", e.name)
	}
}

func (c *fleetCollector) collectPublisher(out sink) {
	p := c.publisher.Counters()
	out.count(metricPublished, "Versions that became wanted.", p.Published)
	out.count(metricUnpublishable, "Heads that do not compile in this build.", p.Unpublishable)
	out.count(metricChecks, "Candidates checked.", p.Checks)
	out.count(metricCompiled, "Compilations that ran.", p.Compiled)
	out.count(metricCached, "Compilations saved by a kept result.", p.Cached)
	out.count(metricBasesLoaded, "Trees loaded from the history, as bases of deltas.", p.BasesLoaded)
	out.count(metricContradictions, "Versions seen that this store never made.", p.Contradictions)
	out.histogram(metricPublishSeconds, "Time from when the control plane began to read a new head to when its version was wanted of nodes.", p.Latency)
}

func (c *fleetCollector) collectNodes(out sink) {
	states := map[api.NodeState]int{}
	for _, n := range c.nodes.Nodes() {
		states[n.State]++
	}
	for _, state := range api.NodeStates() {
		out.gauge(metricNodes, "Known nodes, by state.", float64(states[state]), "state", string(state))
	}
	s := c.streams.Counters()
	out.gauge(metricConnected, "Nodes that are connected to this control plane.", float64(s.NodesConnected))
	out.count(metricStreams, "Streams of nodes admitted.", s.Connected)
	out.count(metricStreamsRefused, "Streams of nodes refused.", s.Refused)
	out.count(metricUpdates, "Updates begun.", s.Updates)
	out.count(metricWholes, "Updates that were whole configurations.", s.Wholes)
	out.count(metricEncodings, "Updates encoded; each serves any number of nodes.", s.Encodings)
	out.count(metricConfigBytes, "Bytes of resources sent.", s.ConfigBytes)
	out.count(metricWireBytes, "Bytes of update messages sent.", s.WireBytes)
	out.count(metricAcks, "Updates that nodes took.", s.Acks)
	out.count(metricNacks, "Updates that nodes refused, by reason.", s.NacksPermanent, "reason", "permanent")
	out.count(metricNacks, "Updates that nodes refused, by reason.", s.NacksLocal, "reason", "local")
	out.count(metricNacks, "Updates that nodes refused, by reason.", s.NacksMismatch, "reason", "base_mismatch")
	out.count(metricNacks, "Updates that nodes refused, by reason.", s.NacksHeld, "reason", "held")
	out.count(metricDrifts, "Times that a node's live table was not built from the version it named.", s.Drifts)
	out.histogram(metricAnswerSeconds, "Time from the last part of an update to the answer.", s.Answer)
	out.histogram(metricSpreadSeconds, "Time from a version being wanted to the answer of each connected node.", s.Spread)
}

func (c *fleetCollector) collectReplicas(out sink) {
	r := c.replicas.Counters()
	out.gauge(metricReplicas, "Other control planes on the same etcd that are there.", float64(r.Others))
	out.count(metricReplicaWrites, "Writes to etcd by which other control planes are told of the nodes here.", r.Writes)
	out.count(metricReplicaFailures, "Such writes that failed.", r.Failures)
	out.count(metricReplicaBytes, "Bytes of such writes.", r.Bytes)
	if !r.Heard.IsZero() {
		out.gauge(metricReplicaHeard, "When what other control planes tell was read last, in Unix time.", float64(r.Heard.UnixMilli())/1000)
	}
}

// sink takes the metrics of a scrape.
type sink chan<- prometheus.Metric

func (out sink) emit(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
	names, values := pairs(labels)
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

func (out sink) count(name, help string, n uint64, labels ...string) {
	out.emit(prometheus.CounterValue, name, help, float64(n), labels...)
}

func (out sink) gauge(name, help string, value float64, labels ...string) {
	out.emit(prometheus.GaugeValue, name, help, value, labels...)
}

func (out sink) histogram(name, help string, l publish.LatencySnapshot) {
	buckets := make(map[float64]uint64, len(l.Buckets))
	for bound, n := range l.Buckets {
		buckets[bound.Seconds()] = n
	}
	out <- prometheus.MustNewConstHistogram(prometheus.NewDesc(name, help, nil, nil), l.Count, l.Sum.Seconds(), buckets)
}

// truth is 1 for true.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// maxCertificates bounds the series of certificates.
const maxCertificates = 1000

// ending is the end of a certificate.
type ending struct {
	name     string
	notAfter time.Time
}

// endingFirst are the certificates that end first, as many as there are series.
func endingFirst(all iter.Seq2[string, *x509.Certificate]) []ending {
	var list []ending
	for name, leaf := range all {
		list = append(list, ending{name, leaf.NotAfter})
	}
	slices.SortFunc(list, func(a, b ending) int {
		if c := a.notAfter.Compare(b.notAfter); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return list[:min(len(list), maxCertificates)]
}

// pairs splits name, value, name, value.
func pairs(labels []string) (names, values []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return names, values
}
