-- What each service may do, as roles that it takes on with SET ROLE. Who owns which column is enforced here.
-- Roles belong to the whole cluster: another database may have created them, or be doing so at this moment.
-- depends: 0009.user-nodes-join-table

DO $$
DECLARE
    may_create constant boolean := (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user);
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['minegnk_cache', 'minegnk_earnings', 'minegnk_api', 'minegnk_admin'] LOOP
        IF to_regrole(name) IS NULL AND NOT may_create THEN
            RAISE WARNING 'role % is not created: % may not create roles', name, current_user;
            CONTINUE;
        END IF;
        IF to_regrole(name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
                EXECUTE format('COMMENT ON ROLE %I IS %L', name, 'Created by 0010.create-roles');
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database's migration was quicker
            END;
        END IF;
        -- Whoever migrates may take the role on, but does not carry its privileges all the time.
        IF NOT pg_has_role(current_user, name, 'SET') THEN
            BEGIN
                EXECUTE format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', name, current_user);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE WARNING 'role % is not granted to %: its creator or a superuser can do that', name, current_user;
                WHEN unique_violation THEN
                    NULL; -- granted at the same moment from another database
            END;
        END IF;
        IF NOT has_schema_privilege(name, current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), name);
        END IF;
    END LOOP;
END $$;

-- SELECT ... FOR UPDATE or FOR SHARE needs UPDATE on a column of what it locks: the earnings service locks
-- epoch_settlement, earnings_node and node_stats_cache, and may do so; foreign keys lock as the tables' owner.
DO $$
DECLARE
    role_name text;
    privileges text;
BEGIN
    FOR role_name, privileges IN VALUES
        ('minegnk_cache', 'SELECT, INSERT (identifier, identifier_type), UPDATE (display_name, gpu_type, region) ON nodes'),
        ('minegnk_cache', 'SELECT, INSERT, UPDATE ON node_facts, node_uptime, source_uptime, tracker_sources'),
        ('minegnk_cache', 'SELECT,
            INSERT (node_id, status, uptime_percent, tokens_per_sec, jobs_day, active_model, voting_weight, source,
                    fetched_at),
            UPDATE (status, uptime_percent, tokens_per_sec, jobs_day, active_model, voting_weight, source, fetched_at)
            ON node_stats_cache'),

        ('minegnk_earnings', 'SELECT, INSERT (identifier, identifier_type) ON nodes'),
        ('minegnk_earnings', 'SELECT ON tracker_sources'),
        ('minegnk_earnings', 'SELECT, INSERT, UPDATE ON earnings_node, epoch_settlement, earnings_ledger'),
        ('minegnk_earnings', 'SELECT, INSERT, UPDATE (observed_at) ON earnings_ledger_version'),
        ('minegnk_earnings', 'SELECT, INSERT, UPDATE, DELETE ON earnings_history'),
        ('minegnk_earnings', 'SELECT,
            INSERT (node_id, earnings_day, earnings_total, fetched_at), UPDATE (earnings_day, earnings_total)
            ON node_stats_cache'),

        -- Reads everything but the secrets: users.password, "googleId", "githubId".
        ('minegnk_api', 'SELECT ON nodes, node_stats_cache, earnings_history, earnings_node, epoch_settlement,
            earnings_ledger, earnings_ledger_version, tracker_sources, node_facts, node_uptime, source_uptime,
            user_nodes, user_nodes_portal, node_requests'),
        ('minegnk_api', 'SELECT (id, email, name, role, provider, "avatarUrl", "isActive", "createdAt", "updatedAt",
            telegram, discord, currency_preference) ON users'),

        ('minegnk_admin', 'SELECT ON nodes, node_stats_cache, earnings_history, earnings_node, epoch_settlement,
            earnings_ledger, earnings_ledger_version, tracker_sources, node_facts, node_uptime, source_uptime,
            user_nodes_portal, node_requests'),
        ('minegnk_admin', 'SELECT (id, email, name, role, provider, "avatarUrl", "isActive", "createdAt", "updatedAt",
            telegram, discord, currency_preference), UPDATE (telegram, discord, currency_preference) ON users'),
        ('minegnk_admin', 'SELECT, INSERT, UPDATE, DELETE ON user_nodes')
    LOOP
        -- Where the roles could not be created, the services work as the login user.
        IF to_regrole(role_name) IS NOT NULL THEN
            -- "SELECT (a), UPDATE (b) ON t" is one statement; the grantee comes last.
            EXECUTE format('GRANT %s TO %I', privileges, role_name);
        END IF;
    END LOOP;
END $$;
