-- Phase 2: user_nodes becomes a pure join table, so that a node can belong to several users. The old table lives on as
-- user_nodes_before_join: what has no place in the new one stays there, and the rollback restores from it.
-- depends: 0008.create-cache-tables

DO $$
BEGIN
    -- A killed run may repeat this file: the old shape is there only once.
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'user_nodes'::regclass AND attname = 'node_address' AND NOT attisdropped
    ) THEN
        RETURN;
    END IF;

    -- The rename comes first: its lock keeps the portal's writes out until all is done.
    ALTER TABLE user_nodes RENAME TO user_nodes_before_join;
    ALTER INDEX idx_user_nodes_user_id RENAME TO idx_user_nodes_before_join_user_id;
    ALTER INDEX IF EXISTS idx_user_nodes_active RENAME TO idx_user_nodes_before_join_active;
    ALTER TABLE user_nodes_before_join ADD COLUMN node_id uuid REFERENCES nodes (id) ON DELETE SET NULL;

    CREATE TABLE user_nodes (
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        node_id uuid NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
        assigned_at timestamptz NOT NULL DEFAULT now(),
        assigned_by uuid REFERENCES users (id) ON DELETE SET NULL,
        CONSTRAINT user_nodes_join_pkey PRIMARY KEY (user_id, node_id)
    );
    CREATE INDEX idx_user_nodes_user_id ON user_nodes (user_id);
    CREATE INDEX idx_user_nodes_node_id ON user_nodes (node_id);

    -- An address typed with spaces around it is the node without them.
    INSERT INTO nodes (identifier, identifier_type)
    SELECT DISTINCT
        address,
        CASE
            WHEN position('/' IN address) > 0 THEN 'node_id'
            WHEN starts_with(address, 'gonkavaloper1') THEN 'operator'
            WHEN starts_with(address, 'gonkavalcons1') THEN 'validator'
            WHEN starts_with(address, 'gonka1') THEN 'wallet'
            ELSE 'node_id'
        END
    FROM user_nodes_before_join, btrim(node_address, E' \t\r\n') AS address
    ORDER BY address
    ON CONFLICT (identifier) DO NOTHING;

    UPDATE user_nodes_before_join AS old
    SET node_id = nodes.id
    FROM nodes
    WHERE nodes.identifier = btrim(old.node_address, E' \t\r\n');

    INSERT INTO user_nodes (user_id, node_id, assigned_at)
    SELECT user_id, node_id, min(created_at) FROM user_nodes_before_join GROUP BY user_id, node_id;

    -- A person gave these values: as facts of the operator they outrank what trackers say, and stay.
    INSERT INTO node_facts (node_id, field, value, source, observed_at)
    SELECT DISTINCT ON (old.node_id, fact.field) old.node_id, fact.field, fact.value, 'operator', old.updated_at
    FROM user_nodes_before_join AS old
    CROSS JOIN LATERAL (
        VALUES
            ('display_name', btrim(left(btrim(regexp_replace(old.label, '\s+', ' ', 'g')), 100))),
            ('gpu_type', btrim(regexp_replace(old.gpu_type, '\s+', ' ', 'g')))
    ) AS fact (field, value)
    WHERE fact.value <> ''
    ORDER BY old.node_id, fact.field, old.is_active DESC, old.updated_at DESC, old.id
    ON CONFLICT (node_id, field) DO UPDATE
    SET value = excluded.value, source = excluded.source, observed_at = excluded.observed_at
    WHERE node_facts.source <> 'operator';

    UPDATE nodes
    SET display_name = coalesce(facts.display_name, nodes.display_name),
        gpu_type = coalesce(facts.gpu_type, nodes.gpu_type)
    FROM (
        SELECT node_id,
               max(value) FILTER (WHERE field = 'display_name') AS display_name,
               max(value) FILTER (WHERE field = 'gpu_type') AS gpu_type
        FROM node_facts
        WHERE source = 'operator'
        GROUP BY node_id
    ) AS facts
    WHERE nodes.id = facts.node_id;

    UPDATE nodes
    SET gcore_instance_id = old.gcore_instance_id
    FROM (
        SELECT DISTINCT ON (node_id) node_id, gcore_instance_id
        FROM user_nodes_before_join
        WHERE gcore_instance_id <> ''
        ORDER BY node_id, is_active DESC, updated_at DESC, id
    ) AS old
    WHERE nodes.id = old.node_id;
END $$;

-- The old shape, for the portal. An assignment made since has an id derived from its key.
CREATE OR REPLACE VIEW user_nodes_portal AS
SELECT coalesce(old.id, md5(assigned.user_id::text || assigned.node_id::text)::uuid) AS id,
       assigned.user_id,
       coalesce(old.node_address, nodes.identifier) AS node_address,
       coalesce(old.label, nodes.display_name)::varchar(255) AS label,
       coalesce(nodes.gpu_type, old.gpu_type) AS gpu_type,
       coalesce(nodes.gcore_instance_id, old.gcore_instance_id) AS gcore_instance_id,
       old.notes,
       coalesce(old.is_active, true) AS is_active,
       coalesce(old.created_at, assigned.assigned_at) AS created_at,
       coalesce(old.updated_at, assigned.assigned_at) AS updated_at
FROM user_nodes AS assigned
JOIN nodes ON nodes.id = assigned.node_id
LEFT JOIN user_nodes_before_join AS old ON old.user_id = assigned.user_id AND old.node_id = assigned.node_id;
