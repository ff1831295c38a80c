DROP INDEX IF EXISTS idx_users_is_active;

DROP INDEX IF EXISTS idx_users_role;

DROP INDEX IF EXISTS idx_requests_created_at;

DROP INDEX IF EXISTS idx_requests_status;

DROP INDEX IF EXISTS idx_requests_user_id;

DROP INDEX IF EXISTS idx_user_nodes_active;
