-- What a gateway with [clickhouse] writes to, for ClickHouse 24.8 and later. It makes these tables itself where it may.
--
-- One row for each exchange of the journal, in nano-dollars. A row that was sent twice is one: at once where its batch still
-- is in the window of deduplication, else when parts are merged, or with FINAL. Days are dropped whole after 90.
CREATE TABLE IF NOT EXISTS requests
(
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    settled_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    request_id String,
    seq UInt64 CODEC(Delta, ZSTD),
    record_hash FixedString(32),
    journal LowCardinality(String),
    tenant LowCardinality(String),
    user String,
    key_id LowCardinality(String),
    session_id String,
    agent_id String,
    client LowCardinality(String),
    tags Array(LowCardinality(String)),
    endpoint LowCardinality(String),
    upstream LowCardinality(String),
    upstream_request_id String,
    message_id String,
    requested_model LowCardinality(String),
    sent_model LowCardinality(String),
    answered_model LowCardinality(String),
    tier LowCardinality(String),
    mode LowCardinality(String),
    reasons Array(LowCardinality(String)),
    escalated_from LowCardinality(String),
    workload String,
    policy_version LowCardinality(String),
    price_version LowCardinality(String),
    input_tokens UInt64,
    cache_read_tokens UInt64,
    cache_write_5m_tokens UInt64,
    cache_write_1h_tokens UInt64,
    output_tokens UInt64,
    usage_source LowCardinality(String),
    cost_nanousd Int64,
    baseline_requested_nanousd Int64,
    baseline_all_opus_nanousd Int64,
    cache LowCardinality(String),
    cache_saved_nanousd Int64,
    is_sample Bool,
    status UInt16,
    error_type LowCardinality(String),
    stop_reason LowCardinality(String),
    outcome LowCardinality(String),
    tools Array(LowCardinality(String)),
    failed_tools Array(LowCardinality(String)),
    guards Array(LowCardinality(String)),
    stream Bool,
    latency_ms UInt64,
    ttft_ms Nullable(UInt64),
    overhead_us UInt64,
    attempts UInt32,
    INDEX by_request request_id TYPE bloom_filter GRANULARITY 4,
    INDEX by_session session_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, toStartOfHour(ts), ts, request_id)
TTL toDateTime(ts) + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- Columns that tables of earlier builds lack. What guards did, such as redact:email; what they found is nowhere.
ALTER TABLE requests ADD COLUMN IF NOT EXISTS guards Array(LowCardinality(String)) AFTER failed_tools;

-- The sums of each hour, for 400 days. A batch that is sent twice is dropped here as it is above, by the same token.
CREATE TABLE IF NOT EXISTS hourly
(
    hour DateTime('UTC'),
    tenant LowCardinality(String),
    user String,
    model LowCardinality(String),
    tier LowCardinality(String),
    requests SimpleAggregateFunction(sum, UInt64),
    failed SimpleAggregateFunction(sum, UInt64),
    input_tokens SimpleAggregateFunction(sum, UInt64),
    cache_read_tokens SimpleAggregateFunction(sum, UInt64),
    cache_write_tokens SimpleAggregateFunction(sum, UInt64),
    output_tokens SimpleAggregateFunction(sum, UInt64),
    cost_nanousd SimpleAggregateFunction(sum, Int64),
    baseline_requested_nanousd SimpleAggregateFunction(sum, Int64),
    baseline_all_opus_nanousd SimpleAggregateFunction(sum, Int64),
    cache_answered SimpleAggregateFunction(sum, UInt64),
    cache_saved_nanousd SimpleAggregateFunction(sum, Int64),
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, model, tier, user)
TTL hour + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS hourly_feed TO hourly AS
SELECT
    toStartOfHour(toDateTime(ts, 'UTC')) AS hour,
    tenant,
    user,
    if(sent_model = '', requested_model, sent_model) AS model,
    tier,
    countIf(NOT is_sample) AS requests,
    countIf(outcome != 'ok' AND NOT is_sample) AS failed,
    sum(requests.input_tokens) AS input_tokens,
    sum(requests.cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_5m_tokens + cache_write_1h_tokens) AS cache_write_tokens,
    sum(requests.output_tokens) AS output_tokens,
    sum(requests.cost_nanousd) AS cost_nanousd,
    sum(requests.baseline_requested_nanousd) AS baseline_requested_nanousd,
    sum(requests.baseline_all_opus_nanousd) AS baseline_all_opus_nanousd,
    countIf(cache IN ('hit', 'joined')) AS cache_answered,
    sum(requests.cache_saved_nanousd) AS cache_saved_nanousd,
    quantilesTDigestState(0.5, 0.95, 0.99)(requests.latency_ms) AS latency_ms
FROM requests
GROUP BY hour, tenant, user, model, tier;
