"""The schema that the specification asks for, written by hand from it: columns, constraints and indexes."""

USERS = [
    "id uuid not null default uuid_generate_v4()",
    "email character varying(255) not null",
    "password character varying(255)",
    "name character varying(255)",
    "role users_role_enum not null default 'user'::users_role_enum",
    "provider users_provider_enum not null default 'local'::users_provider_enum",
    "googleId character varying(255)",
    "githubId character varying(255)",
    "avatarUrl character varying(255)",
    "isActive boolean not null default true",
    "createdAt timestamp with time zone not null default now()",
    "updatedAt timestamp with time zone not null default now()",
]

LEGACY_USER_NODES = [
    "id uuid not null default uuid_generate_v4()",
    "user_id uuid not null",
    "node_address character varying(255) not null",
    "label character varying(255)",
    "gpu_type character varying(50)",
    "gcore_instance_id character varying(255)",
    "notes text",
    "is_active boolean not null default true",
    "created_at timestamp with time zone not null default now()",
    "updated_at timestamp with time zone not null default now()",
]

# After the specification's five migrations.
SPECIFIED_COLUMNS = {
    "users": [
        *USERS,
        "telegram character varying(100)",
        "discord character varying(100)",
        "currency_preference character varying(10) default 'USD'::character varying",
    ],
    "user_nodes": LEGACY_USER_NODES,
    "node_requests": [
        "id uuid not null default uuid_generate_v4()",
        "user_id uuid not null",
        "gpu_type node_requests_gpu_type_enum",
        "gpu_count integer not null default 1",
        "region character varying(255)",
        "message text",
        "status node_requests_status_enum not null default 'pending'::node_requests_status_enum",
        "admin_notes text",
        "processed_by uuid",
        "processed_at timestamp with time zone",
        "created_at timestamp with time zone not null default now()",
        "updated_at timestamp with time zone not null default now()",
    ],
    "nodes": [
        "id uuid not null default uuid_generate_v4()",
        "identifier character varying(255) not null",
        "identifier_type character varying(50) not null",
        "display_name character varying(100)",
        "gpu_type character varying(50)",
        "region character varying(100)",
        "gcore_instance_id character varying(255)",
        "created_at timestamp with time zone default now()",
    ],
    "node_stats_cache": [
        "node_id uuid not null",
        "status character varying(50)",
        "earnings_day numeric(20,8)",
        "earnings_total numeric(20,8)",
        "uptime_percent numeric(5,2)",
        "tokens_per_sec numeric(10,2)",
        "jobs_day integer",
        "active_model character varying(255)",
        "voting_weight numeric(20,8)",
        "source character varying(50)",
        "fetched_at timestamp with time zone default now()",
    ],
    "earnings_history": [
        "id uuid not null default uuid_generate_v4()",
        "node_id uuid",
        "date date not null",
        "earnings_gnk numeric(20,8) not null",
        "source character varying(50)",
        "created_at timestamp with time zone default now()",
    ],
}

SPECIFIED_CONSTRAINTS = {
    "users": ["PRIMARY KEY (id)", 'UNIQUE ("githubId")', 'UNIQUE ("googleId")', "UNIQUE (email)"],
    "user_nodes": [
        "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",
        "PRIMARY KEY (id)",
        "UNIQUE (node_address)",
    ],
    "node_requests": ["FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE", "PRIMARY KEY (id)"],
    "nodes": [
        "CHECK (((identifier_type)::text = ANY ((ARRAY['wallet'::character varying, 'node_id'::character varying, "
        "'operator'::character varying, 'validator'::character varying])::text[])))",
        "PRIMARY KEY (id)",
        "UNIQUE (identifier)",
    ],
    "node_stats_cache": ["FOREIGN KEY (node_id) REFERENCES nodes(id) ON DELETE CASCADE", "PRIMARY KEY (node_id)"],
    "earnings_history": [
        "FOREIGN KEY (node_id) REFERENCES nodes(id) ON DELETE CASCADE",
        "PRIMARY KEY (id)",
        "UNIQUE (node_id, date)",
    ],
}

SPECIFIED_INDEXES = {
    "idx_user_nodes_user_id": "public.user_nodes USING btree (user_id)",
    "idx_user_nodes_active": "public.user_nodes USING btree (is_active) WHERE (is_active = true)",
    "idx_node_requests_user_id": "public.node_requests USING btree (user_id)",
    "idx_node_requests_status": "public.node_requests USING btree (status)",
    "idx_requests_user_id": "public.node_requests USING btree (user_id)",
    "idx_requests_status": "public.node_requests USING btree (status)",
    "idx_requests_created_at": "public.node_requests USING btree (created_at DESC)",
    "idx_users_role": "public.users USING btree (role)",
    "idx_users_is_active": 'public.users USING btree ("isActive") WHERE ("isActive" = true)',
    "idx_nodes_identifier": "public.nodes USING btree (identifier)",
    "idx_nodes_gpu_type": "public.nodes USING btree (gpu_type)",
    # The specification leaves the method open: BRIN keeps updates heap-only.
    "idx_node_stats_fetched": "public.node_stats_cache USING brin (fetched_at)",
    "idx_node_stats_status": "public.node_stats_cache USING btree (status)",
    "idx_earnings_node_date": "public.earnings_history USING btree (node_id, date DESC)",
    "idx_earnings_date": "public.earnings_history USING btree (date)",
}

# The project's own tables, as docs and services expect them, and user_nodes as Phase 2 makes it.
_LEDGER = [
    "node_id uuid not null",
    "source character varying(50) collate C not null",
    "kind text not null",
    "period integer not null",
    "amount_ngonka numeric(38,0) not null",
    "work_ngonka numeric(38,0)",
    "reward_ngonka numeric(38,0)",
    "final boolean not null",
    "claimed boolean",
    "observed_at timestamp with time zone not null",
]
_NO_BITS = "'0'::bit(288)"
_DAY_SUM = ["dimension text", "key text", "date date", "earnings_gnk numeric", "nodes integer"]

OWN_COLUMNS = {
    "earnings_node": ["node_id uuid not null", "basis text"],
    "epoch_settlement": [
        "epoch integer not null",
        "settled_at timestamp with time zone not null",
        "exact boolean not null",
        "observed_at timestamp with time zone not null",
        "source character varying(50) collate C not null",
    ],
    "earnings_ledger": [
        *_LEDGER,
        "method character varying(100)",
        "version_recorded_at timestamp with time zone default now()",
    ],
    "earnings_ledger_version": [*_LEDGER, "recorded_at timestamp with time zone not null default now()"],
    "tracker_sources": [
        "name character varying(50) collate C not null",
        "kind character varying(50)",
        "preference_seconds integer not null default 0",
        "earnings_order integer not null default 100",
        "probes_health boolean not null default false",
        "poll_interval_seconds integer",
        "reported_at timestamp with time zone",
        "last_attempt_at timestamp with time zone",
        "last_success_at timestamp with time zone",
        "last_error_at timestamp with time zone",
        "last_error text",
        "data_at timestamp with time zone",
        "epoch integer",
        "height bigint",
    ],
    "node_facts": [
        "node_id uuid not null",
        "field text not null",
        "value text not null",
        "source character varying(50) collate C not null",
        "observed_at timestamp with time zone not null",
    ],
    "node_uptime": [
        "node_id uuid not null",
        "date date not null",
        f"healthy bit(288) not null default {_NO_BITS}",
        f"seen bit(288) not null default {_NO_BITS}",
    ],
    "source_uptime": [
        "source character varying(50) collate C not null",
        "date date not null",
        f"reachable bit(288) not null default {_NO_BITS}",
    ],
    "source_epoch_total": [
        "source character varying(50) collate C not null",
        "epoch integer not null",
        "total_ngonka numeric(38,0) not null",
        "reported_at timestamp with time zone not null",
    ],
    "earnings_source_order": ["source character varying(50) collate C not null", "earnings_order integer not null"],
    "earnings_estimates": [
        "node_id uuid",
        "identifier character varying(255)",
        "source character varying(50) collate C",
        "epoch integer",
        "amount_ngonka numeric(38,0)",
        "work_ngonka numeric(38,0)",
        "reward_ngonka numeric(38,0)",
        "estimate_gnk numeric",
        "method character varying(100)",
        "observed_at timestamp with time zone",
    ],
    "earnings_epochs": [
        "node_id uuid",
        "epoch integer",
        "settled_at timestamp with time zone",
        "exact boolean",
        "source character varying(50) collate C",
        "amount_ngonka numeric(38,0)",
        "work_ngonka numeric(38,0)",
        "reward_ngonka numeric(38,0)",
        "claimed boolean",
        "observed_at timestamp with time zone",
    ],
    "earnings_version": [
        "node_id uuid",
        "source character varying(50) collate C",
        "kind text",
        "period integer",
        "final boolean",
        "amount_ngonka numeric(38,0)",
        "work_ngonka numeric(38,0)",
        "reward_ngonka numeric(38,0)",
        "claimed boolean",
        "observed_at timestamp with time zone",
        "recorded_at timestamp with time zone",
    ],
    "api_keys": [
        "id uuid not null default uuid_generate_v4()",
        "name character varying(100) not null",
        "secret_sha256 bytea not null",
        "scopes text[] not null",
        "user_id uuid",
        "created_at timestamp with time zone not null default now()",
        "expires_at timestamp with time zone",
        "revoked_at timestamp with time zone",
    ],
    "earnings_day_total": [
        "dimension text not null",
        "key text not null",
        "date date not null",
        "earnings_gnk numeric not null",
        "nodes integer not null",
    ],
    "earnings_day_changed": ["date date not null"],
    "earnings_node_group": ["node_id uuid not null", "gpu_type text not null", "region text not null"],
    "earnings_member": ["dimension text", "key text", "node_id uuid"],
    "earnings_day_sum": _DAY_SUM,
    "earnings_daily": _DAY_SUM,
    "earnings_weekly": ["dimension text", "key text", "week date", "earnings_gnk numeric", "days integer"],
    "earnings_monthly": ["dimension text", "key text", "month date", "earnings_gnk numeric", "days integer"],
    "earnings_moving_averages": [
        "dimension text",
        "key text",
        "date date",
        "earnings_gnk numeric",
        "average_7d_gnk numeric",
        "average_30d_gnk numeric",
    ],
    "earnings_first_date": ["dimension text", "key text", "first_date date"],
    "earnings_trends": [
        "dimension text",
        "key text",
        "span text",
        "since date",
        "until date",
        "calendar_days integer",
        "days integer",
        "earnings_gnk numeric",
        "average_gnk numeric",
        "before_days integer",
        "before_gnk numeric",
        "change_gnk numeric",
        "change_percent numeric",
        "best_date date",
        "best_gnk numeric",
        "worst_date date",
        "worst_gnk numeric",
    ],
    "user_nodes": [
        "user_id uuid not null",
        "node_id uuid not null",
        "assigned_at timestamp with time zone not null default now()",
        "assigned_by uuid",
    ],
    "user_nodes_before_join": [*LEGACY_USER_NODES, "node_id uuid"],
    "user_nodes_portal": [column.split(" not null")[0].split(" default")[0] for column in LEGACY_USER_NODES],
}

_OF_NODE = "FOREIGN KEY (node_id) REFERENCES nodes(id) ON DELETE CASCADE"
_KINDS = "CHECK ((kind = ANY (ARRAY['epoch'::text, 'day'::text, 'total'::text])))"
_PERIOD = "CHECK ((period >= 0))"

OWN_CONSTRAINTS = {
    "earnings_node": [
        "CHECK ((basis = ANY (ARRAY['epoch'::text, 'day'::text, 'total'::text])))",
        _OF_NODE,
        "PRIMARY KEY (node_id)",
    ],
    "epoch_settlement": ["CHECK ((epoch >= 0))", "PRIMARY KEY (epoch)"],
    "earnings_ledger": [_KINDS, _PERIOD, _OF_NODE, "PRIMARY KEY (node_id, source, kind, period)"],
    "earnings_ledger_version": [
        _KINDS,
        _PERIOD,
        _OF_NODE,
        "UNIQUE NULLS NOT DISTINCT (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, "
        "claimed)",
    ],
    "earnings_source_order": ["PRIMARY KEY (source)"],
    "api_keys": [
        "CHECK ((length(secret_sha256) = 32))",
        "CHECK (((cardinality(scopes) > 0) AND (scopes <@ ARRAY['read'::text, 'users'::text, 'admin'::text])))",
        "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",
        "PRIMARY KEY (id)",
    ],
    "earnings_day_total": ["PRIMARY KEY (dimension, key, date)"],
    "earnings_node_group": [_OF_NODE, "PRIMARY KEY (node_id)"],
    "tracker_sources": ["PRIMARY KEY (name)"],
    "node_facts": [
        "CHECK ((field = ANY (ARRAY['tokens_per_sec'::text, 'display_name'::text, 'gpu_type'::text, 'region'::text])))",
        _OF_NODE,
        "PRIMARY KEY (node_id, field)",
    ],
    "node_uptime": [_OF_NODE, "PRIMARY KEY (node_id, date)"],
    "source_uptime": ["PRIMARY KEY (source, date)"],
    "source_epoch_total": [
        "CHECK ((epoch >= 0))",
        "CHECK ((total_ngonka > (0)::numeric))",
        "PRIMARY KEY (source, epoch)",
    ],
    "user_nodes": [
        "FOREIGN KEY (assigned_by) REFERENCES users(id) ON DELETE SET NULL",
        _OF_NODE,
        "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",
        "PRIMARY KEY (user_id, node_id)",
    ],
    "user_nodes_before_join": [
        "FOREIGN KEY (node_id) REFERENCES nodes(id) ON DELETE SET NULL",
        *SPECIFIED_CONSTRAINTS["user_nodes"],
    ],
}

OWN_INDEXES = {
    "idx_earnings_ledger_epoch": "public.earnings_ledger USING btree (period, node_id) WHERE (kind = 'epoch'::text)",
    "idx_earnings_ledger_estimate": (
        "public.earnings_ledger USING btree (period) WHERE ((kind = 'epoch'::text) AND (NOT final))"
    ),
    "idx_earnings_day_total_date": "public.earnings_day_total USING btree (date)",
    "idx_node_uptime_date": "public.node_uptime USING btree (date)",
    "idx_user_nodes_node_id": "public.user_nodes USING btree (node_id)",
    "idx_user_nodes_before_join_user_id": "public.user_nodes_before_join USING btree (user_id)",
    "idx_user_nodes_before_join_active": (
        "public.user_nodes_before_join USING btree (is_active) WHERE (is_active = true)"
    ),
}
