-- Back to one row per node address. Rows that were there come back as they were, assignments made since as new rows. Nodes
-- and their facts stay: others may have written to them. A node of several users does not fit: refused, nothing changed.
DO $$
DECLARE
    shared text;
BEGIN
    -- A killed run may repeat this file.
    IF to_regclass('user_nodes_before_join') IS NULL THEN
        RETURN;
    END IF;
    LOCK TABLE user_nodes, user_nodes_before_join IN ACCESS EXCLUSIVE MODE;

    SELECT string_agg(node_address, ', ' ORDER BY node_address) INTO shared
    FROM (SELECT node_address FROM user_nodes_portal GROUP BY node_address HAVING count(*) > 1) AS conflicts;
    IF shared IS NOT NULL THEN
        RAISE EXCEPTION 'user_nodes can hold a node once, but several users share %', shared
            USING HINT = 'Leave each of these nodes to one user, then roll back again.';
    END IF;

    -- A node that went from one user to another: its old row goes with it.
    UPDATE user_nodes_before_join AS old
    SET user_id = assigned.user_id, node_id = assigned.node_id, updated_at = assigned.assigned_at
    FROM user_nodes AS assigned
    JOIN nodes ON nodes.id = assigned.node_id
    WHERE old.node_address = nodes.identifier
      AND NOT EXISTS (
          SELECT FROM user_nodes_before_join AS other
          WHERE other.user_id = assigned.user_id AND other.node_id = assigned.node_id
      );

    -- A node that was taken from its user: the row comes back, with its notes, but not active.
    UPDATE user_nodes_before_join AS old
    SET is_active = false
    WHERE old.is_active
      AND NOT EXISTS (
          SELECT FROM user_nodes AS assigned
          WHERE assigned.user_id = old.user_id AND assigned.node_id = old.node_id
      );

    INSERT INTO user_nodes_before_join
        (id, user_id, node_address, label, gpu_type, gcore_instance_id, created_at, updated_at)
    SELECT portal.id, portal.user_id, portal.node_address, portal.label, portal.gpu_type, portal.gcore_instance_id,
           portal.created_at, portal.updated_at
    FROM user_nodes_portal AS portal
    WHERE NOT EXISTS (SELECT FROM user_nodes_before_join AS old WHERE old.id = portal.id);

    DROP VIEW user_nodes_portal;
    DROP TABLE user_nodes;
    ALTER TABLE user_nodes_before_join DROP COLUMN node_id;
    ALTER TABLE user_nodes_before_join RENAME TO user_nodes;
    ALTER INDEX idx_user_nodes_before_join_user_id RENAME TO idx_user_nodes_user_id;
    ALTER INDEX IF EXISTS idx_user_nodes_before_join_active RENAME TO idx_user_nodes_active;
END $$;
