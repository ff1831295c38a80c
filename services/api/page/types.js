/**
 * The shapes of the API's answers, as far as the page reads them. Amounts are decimal strings, times RFC 3339 in UTC, dates
 * YYYY-MM-DD; null is unknown.
 *
 * @typedef {"healthy" | "unhealthy" | "jailed" | "offline"} Status
 * @typedef {{date: string, gnk: string, final: boolean}} DayEarnings
 * @typedef {{
 *   identifier: string, identifier_type: string, display_name: string | null, gpu_type: string | null, region: string | null,
 *   status: Status | null, active_model: string | null, voting_weight: string | null, jobs_day: number | null,
 *   tokens_per_sec: number | null, uptime_percent: number | null, earnings_day: DayEarnings | null,
 *   earnings_total_gnk: string | null, source: string | null, fetched_at: string | null, age_seconds: number | null,
 *   stale: boolean
 * }} FleetNode
 * @typedef {{as_of: string, items: FleetNode[], total: number, next_cursor: string | null, ttl_seconds: number}} NodePage
 * @typedef {{date: string, gnk: string}} DayAmount
 * @typedef {"1d" | "7d" | "30d" | "90d" | "all"} Span
 * @typedef {{
 *   span: Span, since: string, until: string, days: number, gnk: string | null, average_gnk: string | null,
 *   before_gnk: string | null, change_gnk: string | null, change_percent: number | null, best: DayAmount | null,
 *   worst: DayAmount | null
 * }} Window
 * @typedef {{epoch: number, source: string, gnk: string, method: string | null, observed_at: string}} Estimate
 * @typedef {{span: "24h" | "7d" | "30d", percent: number | null, healthy_slots: number, reachable_slots: number}} Uptime
 * @typedef {FleetNode & {
 *   first_seen: string, windows: Window[], uptime: Uptime[], provisional: Estimate[], ttl_seconds: number, as_of: string
 * }} NodeDetail
 * @typedef {{starts: string, gnk: string, days: number, final: boolean, source: string | null}} PeriodEarnings
 * @typedef {{
 *   source: string, ngonka: string, final: boolean, counts: boolean, observed_at: string, versions: number
 * }} EpochReport
 * @typedef {{
 *   epoch: number, date: string, settled_at: string, settled_exact: boolean, gnk: string, ngonka: string,
 *   work_ngonka: string | null, reward_ngonka: string | null, claimed: boolean | null, source: string, restated: boolean,
 *   reports: EpochReport[]
 * }} EpochEarnings
 * @typedef {{
 *   as_of: string, identifier: string, time_zone: string, provisional: Estimate[], next_cursor: string | null, group: string
 * }} EarningsPage
 * @typedef {EarningsPage & {items: PeriodEarnings[]}} EarningsByPeriod
 * @typedef {EarningsPage & {items: EpochEarnings[]}} EarningsByEpoch
 * @typedef {{date: string, slots: string}} TimelineDay
 * @typedef {{
 *   as_of: string, identifier: string, slot_seconds: number, since: string, until: string, days: TimelineDay[]
 * }} Timeline
 * @typedef {{key: string, nodes: number}} Count
 * @typedef {{
 *   total: number, healthy: number, unhealthy: number, jailed: number, offline: number, unknown: number, stale: number
 * }} NodeCounts
 * @typedef {{date: string, gnk: string, average_7d_gnk: string, nodes: number}} FleetDay
 * @typedef {{epoch: number, settled_at: string, settled_exact: boolean, nodes: number, gnk: string | null}} Settlement
 * @typedef {{epoch: number, nodes: number, gnk: string, methods: string[], observed_at: string}} FleetEstimate
 * @typedef {{
 *   as_of: string, ttl_seconds: number, nodes: NodeCounts, gpu_types: Count[], regions: Count[], models: Count[],
 *   uptime_percent: number | null, voting_weight: string | null, windows: Window[], daily: FleetDay[],
 *   settlements: Settlement[], estimate: FleetEstimate | null, sources: Record<string, number>
 * }} Summary
 * @typedef {"ok" | "stale" | "failing" | "silent" | "unknown"} SourceState
 * @typedef {{
 *   name: string, kind: string | null, state: SourceState, data_at: string | null, data_age_seconds: number | null,
 *   last_attempt_at: string | null, last_success_at: string | null, last_error_at: string | null, last_error: string | null,
 *   poll_interval_seconds: number | null, preference_seconds: number, earnings_order: number, probes_health: boolean,
 *   epoch: number | null, height: number | null, nodes: number
 * }} Source
 * @typedef {{as_of: string, ttl_seconds: number, items: Source[]}} Sources
 *
 * What a view of the page offers to the shell.
 * @typedef {{
 *   root: HTMLElement, title: string, enter: (route: import("./router.js").Route) => void, leave?: () => void,
 *   event: (type: string, data: any) => void, reload: () => void
 * }} View
 */

export {};
