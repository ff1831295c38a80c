-- Indexes on the tables that were there before.
-- depends: 0004.create-earnings-history-table

-- The specification lists it here, but it is as old as its table: the rollback leaves it.
CREATE INDEX IF NOT EXISTS idx_user_nodes_user_id ON user_nodes (user_id);

CREATE INDEX IF NOT EXISTS idx_user_nodes_active ON user_nodes (is_active) WHERE is_active = true;

CREATE INDEX IF NOT EXISTS idx_requests_user_id ON node_requests (user_id);

CREATE INDEX IF NOT EXISTS idx_requests_status ON node_requests (status);

CREATE INDEX IF NOT EXISTS idx_requests_created_at ON node_requests (created_at DESC);

CREATE INDEX IF NOT EXISTS idx_users_role ON users (role);

CREATE INDEX IF NOT EXISTS idx_users_is_active ON users ("isActive") WHERE "isActive" = true;
