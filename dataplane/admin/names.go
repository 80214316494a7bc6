package admin

// The names of all metrics. Durations are in seconds, sizes in bytes; what ends
// in _total only grows. Bytes are those of bodies.
const (
	namespace = "proxyfleet_"

	metricBuildInfo = namespace + "build_info"

	// By listener: every request that had a head.
	metricRequests        = namespace + "requests_total"
	metricRequestDuration = namespace + "request_duration_seconds"
	metricReceivedBytes   = namespace + "received_bytes_total"
	metricSentBytes       = namespace + "sent_bytes_total"
	metricRefused         = namespace + "refused_messages_total"
	metricClientsOpened   = namespace + "client_connections_opened_total"
	metricClients         = namespace + "client_connections"

	// By route.
	metricRouteRequests      = namespace + "route_requests_total"
	metricRouteDuration      = namespace + "route_duration_seconds"
	metricRouteReceivedBytes = namespace + "route_received_bytes_total"
	metricRouteSentBytes     = namespace + "route_sent_bytes_total"
	metricRouteRetries       = namespace + "route_retries_total"

	// By upstream, and by endpoint. Classes are of the upstream's own answers.
	metricUpstreamRequests    = namespace + "upstream_requests_total"
	metricUpstreamUnanswered  = namespace + "upstream_unanswered_total"
	metricUpstreamFirstByte   = namespace + "upstream_first_byte_seconds"
	metricEndpointRequests    = namespace + "endpoint_requests_total"
	metricEndpointUnanswered  = namespace + "endpoint_unanswered_total"
	metricEndpointStopped     = namespace + "endpoint_retries_stopped_total"
	metricEndpointOpened      = namespace + "endpoint_connections_opened_total"
	metricEndpointReused      = namespace + "endpoint_connections_reused_total"
	metricEndpointFailed      = namespace + "endpoint_connect_failures_total"
	metricEndpointConnections = namespace + "endpoint_connections"
	metricEndpointInFlight    = namespace + "endpoint_requests_in_flight"
	metricEndpointWaiting     = namespace + "endpoint_requests_waiting"

	// By reason.
	metricReasons       = namespace + "answers_by_reason_total"
	metricRefusals      = namespace + "codec_refusals_total"
	metricRefusalsHTTP2 = namespace + "http2_refusals_total"

	// By side and result.
	metricHandshakes = namespace + "tls_handshakes_total"

	// The node.
	metricExchanges       = namespace + "requests_in_flight"
	metricAcquire         = namespace + "upstream_acquire_seconds"
	metricLoops           = namespace + "loops"
	metricLoopLate        = namespace + "loop_late_seconds"
	metricLoopTurns       = namespace + "loop_turns_total"
	metricHandedOver      = namespace + "connections_handed_over_total"
	metricAcceptExhausted = namespace + "accept_exhausted_total"
	metricRefusedClients  = namespace + "connections_refused_total"
	metricPacketsDropped  = namespace + "packets_dropped_total"
	metricShed            = namespace + "connections_shed_total"
	metricSplicedBytes    = namespace + "spliced_bytes_total"
	metricPressure        = namespace + "memory_pressure"
	metricMemoryLimit     = namespace + "memory_limit_bytes"
	metricBufferBytes     = namespace + "buffer_bytes"
	metricDrained         = namespace + "drained"
	metricLogLines        = namespace + "access_log_lines_total"
	metricUnwritten       = namespace + "messages_dropped_total"

	// The configuration.
	metricConfigRevision    = namespace + "config_revision"
	metricConfigWanted      = namespace + "config_wanted_revision"
	metricConfigEpoch       = namespace + "config_epoch"
	metricConfigApplied     = namespace + "config_applied_timestamp_seconds"
	metricConfigDrift       = namespace + "config_drift"
	metricConfigProblems    = namespace + "config_problems"
	metricConfigConnected   = namespace + "config_source_connected"
	metricConfigResources   = namespace + "config_resources"
	metricCertificateEnd    = namespace + "certificate_not_after_seconds"
	metricLastGoodAge       = namespace + "last_known_good_age_seconds"
	metricFeedStreams       = namespace + "feed_streams_total"
	metricFeedUpdates       = namespace + "feed_updates_total"
	metricFeedBytes         = namespace + "feed_config_bytes_total"
	metricFeedAnswers       = namespace + "feed_answers_total"
	metricFeedCompileTotal  = namespace + "feed_compile_seconds_total"
	metricFeedCompileLatest = namespace + "feed_compile_last_seconds"

	// Virtual IPs, on nodes that gossip.
	metricVIPHeld         = namespace + "vip_held"
	metricVIPVacant       = namespace + "vip_vacant"
	metricVIPConflict     = namespace + "vip_conflict"
	metricMembersAlive    = namespace + "members_alive"
	metricMembersExpected = namespace + "members_expected"
	metricAgentRunning    = namespace + "vip_agent_running"
	metricAgentRestarts   = namespace + "vip_agent_restarts_total"
	metricSocketsCut      = namespace + "vip_sockets_cut_total"
	metricInboxLost       = namespace + "vip_messages_lost_total"
)
